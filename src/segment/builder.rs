//! Codes → a raw HNSW graph. The one file that names `hnsw_rs`.
//!
//! Only its construction is used (Malkov & Yashunin, arXiv:1603.09320); our own files store, repair and search the graph.

use hnsw_rs::prelude::{Distance, Hnsw};

use super::kernel::Kernel;
use super::vectors::Codes;

/// Connections of a node above the base layer; the base layer has twice as many.
pub(super) const M: usize = 16;
const EF_CONSTRUCTION: usize = 200;
const LAYERS: usize = 16;

/// Something that links near rows.
pub(super) trait GraphBuilder {
    /// Links `nodes`, rows of `codes` that all differ. `seed` shuffles the order of insertion.
    fn build(&self, codes: Codes<'_>, nodes: &[u32], seed: u64) -> Vec<RawNode>;
}

/// One row in the graph, as built.
#[derive(Debug)]
pub(super) struct RawNode {
    pub row: u32,
    /// The highest layer it stands in.
    pub level: u8,
    /// Rows linked in the base layer, at most 2·[`M`], nearest first.
    pub neighbours: Vec<u32>,
}

/// Builds with `hnsw_rs` on all threads of the current rayon pool. Which links come out depends on their timing.
pub(super) struct HnswRs;

impl GraphBuilder for HnswRs {
    fn build(&self, codes: Codes<'_>, nodes: &[u32], seed: u64) -> Vec<RawNode> {
        let order = shuffled(nodes, seed);
        let Some((first, rest)) = order.split_first() else {
            return Vec::new();
        };
        let hnsw: Hnsw<'_, u32, ByRow<'_>> =
            Hnsw::new(M, nodes.len(), LAYERS, EF_CONSTRUCTION, ByRow::new(codes));
        // Alone, so that every other point finds an entry.
        hnsw.insert_slice((std::slice::from_ref(first), *first as usize));
        let rest: Vec<(&[u32], usize)> = rest
            .iter()
            .map(|row| (std::slice::from_ref(row), *row as usize))
            .collect();
        hnsw.parallel_insert_slice(&rest);
        hnsw.get_point_indexation()
            .into_iter()
            .map(|point| {
                // It keeps links above a point's own level too; only the base layer is read here.
                let base = point
                    .get_neighborhood_id()
                    .into_iter()
                    .next()
                    .unwrap_or_default();
                let neighbours = base
                    .into_iter()
                    .map(|neighbour| neighbour.d_id as u32)
                    .take(2 * M)
                    .collect();
                RawNode {
                    row: point.get_origin_id() as u32,
                    level: point.get_point_id().0,
                    neighbours,
                }
            })
            .collect()
    }
}

/// Squared Euclidean distance between the codes of two rows: exact, symmetric and never negative, as the builder needs.
struct ByRow<'a> {
    codes: Codes<'a>,
    kernel: Kernel,
    squares: Vec<i32>,
}

impl<'a> ByRow<'a> {
    fn new(codes: Codes<'a>) -> Self {
        let kernel = Kernel::best();
        let squares = (0..codes.rows())
            .map(|row| kernel.dot(codes.row(row), codes.row(row)))
            .collect();
        Self {
            codes,
            kernel,
            squares,
        }
    }
}

impl Distance<u32> for ByRow<'_> {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        let (a, b) = (a[0], b[0]);
        let product = self.kernel.dot(self.codes.row(a), self.codes.row(b));
        let squares = i64::from(self.squares[a as usize]) + i64::from(self.squares[b as usize]);
        (squares - 2 * i64::from(product)) as f32
    }
}

/// Fisher–Yates with SplitMix64: the same order for the same seed, in every version.
fn shuffled(nodes: &[u32], seed: u64) -> Vec<u32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let mut order = nodes.to_vec();
    for last in (1..order.len()).rev() {
        order.swap(last, (next() % (last as u64 + 1)) as usize);
    }
    order
}
