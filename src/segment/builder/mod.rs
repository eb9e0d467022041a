//! Codes → a raw graph.
//!
//!   nodes, shuffled → walk.rs → near nodes → select.rs → links.rs → … all inserted twice … → repair.rs → [`RawGraph`]
//!
//! In go the codes of a segment's rows, and which of them are nodes; perhaps an older graph over some of them. Out comes a
//! flat list of at most [`WIDTH`] neighbours a node, and the nodes that walks start from. Nothing here is unsafe; a build
//! asks often whether it shall stop.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | what goes in and out; the choice of builder |
//! | `parallel.rs` | our builder: passes over the nodes, on all threads |
//! | `insert.rs` | one node: found, linked, linked back |
//! | `walk.rs` | the search for a node's neighbours |
//! | `select.rs` | which near nodes become neighbours |
//! | `links.rs` | lists that many threads read and write at once |
//! | `extend.rs` | an older graph, its rows renumbered, as a start |
//! | `repair.rs` | every node reachable, in place of whatever a builder left unlinked |
//! | `distance.rs` | how far rows are apart under a metric, from their codes |
//! | `hnsw.rs` | the crate `hnsw_rs` as a builder, to compare ours with |
//!
//! There is one layer, the one that the file holds. What HNSW's upper layers do, a good place to start, the seeds do: on
//! 100,000 real vectors of 384 dimensions a walk from 8 seeds finds as much as one from 256, for fewer distances (compare Munyampirwa et al., arXiv:2412.01940).
//!
//! Measured on those vectors, 1,000 queries, k = 10, exact rerank; CPU seconds to build on two busy cores with AVX-512 VNNI,
//! and code distances a query needs to reach a recall, 32 seeds included:
//!
//! | rows | builder | CPU s | at 0.95 | at 0.98 | at 0.99 | at 0.995 |
//! |---|---|---|---|---|---|---|
//! | 30,000 | `hnsw_rs`, M 16, ef 200 | 58 | 517 | 799 | 1,098 | 1,415 |
//! | | **as built here** | 9 | 455 | 704 | 941 | 1,280 |
//! | | one pass of ef 200, M 16, slack 1 | 7 | 497 | 766 | 1,030 | 1,356 |
//! | | two passes of ef 100, 24 links, slack 1.1 | 11 | 454 | 724 | 953 | 1,241 |
//! | | the same, 32 links | 11 | 480 | 750 | 977 | 1,174 |
//! | | the same, 32 links, slack 1.2 | 11 | 497 | 788 | 1,122 | 1,613 |
//! | 100,000 | ef 48, then 100; 24 links, slack 1.1 | 30 | 483 | 818 | 1,243 | 2,196 |
//! | | **ef 48, then 200; 24 links, slack 1.1** | 48 | 471 | 769 | 1,084 | 1,855 |
//! | | the same, slack 1 | 48 | 523 | 793 | 1,234 | 1,847 |
//!
//! hnswlib (M 16, ef 200) took 91 CPU seconds beside the bold line, which is what is built here: the time that codes save
//! is spent on the second pass, since a graph is searched more often than built. 10,000 rows added to a graph of 90,000 cost
//! an eighth of a new graph at the same recall. After five rounds of a fifth of 20,000 rows deleted and as many added, a query
//! needs 5 to 11 % more distances than on a new graph.

mod distance;
mod extend;
mod hnsw;
mod insert;
mod links;
mod parallel;
mod repair;
mod select;
mod walk;

#[cfg(test)]
mod tests;

use super::vectors::Codes;
use crate::random::Random;
use crate::vector::Metric;

pub(super) use extend::Start;
use hnsw::HnswRs;
use parallel::Parallel;
pub(super) use repair::repair;

/// Neighbours of a node, at most.
pub(super) const WIDTH: usize = 32;
/// Nodes that every walk scores first, at most.
pub(super) const MAX_SEEDS: usize = 256;
/// Fills a neighbour list behind its last neighbour.
pub(super) const NONE: u32 = u32::MAX;

/// What is to be linked.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub codes: Codes<'a>,
    /// What makes rows near.
    pub metric: Metric,
    /// Rows of `codes` that all differ.
    pub nodes: &'a [u32],
    /// A graph over some of the nodes to go on from. A builder may leave it aside and begin anew.
    pub start: Option<Start<'a>>,
    /// Shuffles the order of insertion.
    pub seed: u64,
    /// Asked often: shall the build stop?
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// Something that links near rows.
pub(super) trait GraphBuilder {
    /// `None` if it was stopped.
    fn build(&self, task: &Task<'_>) -> Option<RawGraph>;
}

/// Who links the rows of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Builder {
    /// Our own.
    #[default]
    Parallel,
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "what ours is compared with; nobody needs the slower one"
        )
    )]
    /// The `hnsw_rs` crate, some times slower; ours is measured and tested against it.
    HnswRs,
}

impl Builder {
    pub(super) fn get(self) -> &'static dyn GraphBuilder {
        match self {
            Self::Parallel => &Parallel,
            Self::HnswRs => &HnswRs,
        }
    }
}

/// A graph as built.
#[derive(Debug)]
pub(super) struct RawGraph {
    /// Shape `[rows, WIDTH]`: rows linked from each row, filled up with [`NONE`]; nothing but [`NONE`] for rows that are no nodes.
    pub neighbours: Vec<u32>,
    /// Nodes that walks start from, at most [`MAX_SEEDS`]; at least one if there are nodes.
    pub seeds: Vec<u32>,
}

/// Fisher–Yates: the same order for the same seed, in every version.
fn shuffled(nodes: &[u32], seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    let mut order = nodes.to_vec();
    for last in (1..order.len()).rev() {
        order.swap(last, (random.next() % (last as u64 + 1)) as usize);
    }
    order
}
