//! The walk: from the seeds along the graph to the nodes nearest to a query.
//!
//! HNSW's base-layer search (arXiv:1603.09320, algorithm 2) on codes. What was met is kept in one array, sorted by key, that
//! is both the frontier and the result.
//!
//! A walk is as fast as its codes come from memory, so it is always one node ahead: while the neighbours of a node are
//! scored, those of the next, the best that is known by then, are on their way. Now and then the node thus chosen is not the
//! one that scoring would have shown; it costs a tenth more codes for the same beam, finds more with them, and no wait is for
//! nothing.
//!
//! It goes over all nodes, whichever rows are selected: `search.rs` takes these from what it met.

use std::cell::RefCell;

use super::graph::Graph;
use super::quantise::QueryCode;
use super::vectors::Keys;

/// Marks a node of the beam whose neighbours were looked at.
const LOOKED_AT: u32 = 1 << 31;
/// Lists asked for from memory before it is known which will be read.
const LISTS_AHEAD: usize = 3;
/// A walk that looked at so many nodes without finding a better one has arrived.
const STALE: u32 = 8;

/// What to walk over and how far.
pub(super) struct Walk<'a> {
    pub keys: Keys<'a>,
    pub graph: Graph<'a>,
    pub code: &'a QueryCode,
    /// Nodes kept, at least 1.
    pub ef: usize,
    /// Nodes that the walk is not to see.
    pub without: &'a [u32],
    /// A walk that has arrived goes no further than to nodes with this key.
    pub least_key: i32,
}

/// A node met, and its key: higher is nearer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Met {
    pub key: i32,
    pub slot: u32,
}

impl Walk<'_> {
    /// Gives `take` the best nodes that it met, best first, at most `ef`, and whether the least key cut it short.
    pub fn run<T>(&self, take: impl FnOnce(&[Met], bool) -> T) -> T {
        SCRATCH.with_borrow_mut(|scratch| {
            let cut_short = self.go(scratch);
            take(&scratch.beam, cut_short)
        })
    }

    fn go(&self, scratch: &mut Scratch) -> bool {
        scratch.begin(self.keys.codes.rows());
        for &without in self.without {
            scratch.visited.insert(without);
        }
        for &start in self.graph.seeds.iter().chain(self.graph.orphans) {
            self.visit(scratch, start);
        }
        let mut stale = 0;
        // All of the beam before this place were looked at.
        let mut next = 0;
        let cut_short = loop {
            std::mem::swap(&mut scratch.fresh, &mut scratch.coming);
            scratch.coming.clear();
            let beam = &mut scratch.beam;
            while beam.get(next).is_some_and(|met| met.slot & LOOKED_AT != 0) {
                next += 1;
            }
            match beam.get_mut(next) {
                Some(met) if met.key < self.least_key && stale >= STALE => break true,
                Some(met) => {
                    let node = met.slot;
                    met.slot |= LOOKED_AT;
                    for &neighbour in self.graph.neighbours(node) {
                        self.visit(scratch, neighbour);
                    }
                }
                None if scratch.fresh.is_empty() => break false,
                None => {}
            }
            let Scratch {
                fresh, keys, beam, ..
            } = scratch;
            keys.clear();
            self.keys.of(self.code, fresh, keys);
            stale += 1;
            for (&slot, &key) in fresh.iter().zip(keys.iter()) {
                if beam.len() >= self.ef && beam.last().is_some_and(|worst| key <= worst.key) {
                    continue;
                }
                let at = beam.partition_point(|met| met.key >= key);
                beam.truncate(self.ef - 1);
                beam.insert(at, Met { key, slot });
                next = next.min(at);
                if at == 0 {
                    stale = 0;
                }
            }
            // Most likely the next to be looked at.
            let unseen = beam
                .iter()
                .skip(next)
                .filter(|met| met.slot & LOOKED_AT == 0);
            for met in unseen.take(LISTS_AHEAD) {
                self.graph.prefetch(met.slot);
            }
        };
        for met in &mut scratch.beam {
            met.slot &= !LOOKED_AT;
        }
        cut_short
    }

    /// Takes a node to be scored in the next turn, unless it was taken before.
    #[inline(always)]
    fn visit(&self, scratch: &mut Scratch, node: u32) {
        if scratch.visited.insert(node) {
            self.keys.prefetch(node);
            scratch.coming.push(node);
        }
    }
}

/// What a walk needs and the next walk of the thread uses again. It grows to a bit a row of the largest segment.
#[derive(Default)]
struct Scratch {
    visited: Visited,
    /// Nodes that are scored now, and their keys.
    fresh: Vec<u32>,
    keys: Vec<i32>,
    /// Nodes to be scored next.
    coming: Vec<u32>,
    /// The best nodes met, best first; [`LOOKED_AT`] is set in some.
    beam: Vec<Met>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    fn begin(&mut self, slots: u32) {
        self.visited.begin(slots);
        self.fresh.clear();
        self.coming.clear();
        self.beam.clear();
    }
}

/// The nodes that a walk has met: one bit each, so that those of a million fit the cache.
#[derive(Default)]
struct Visited {
    bits: Vec<u64>,
    /// Words that are not zero; some stand here more than once.
    touched: Vec<u32>,
}

impl Visited {
    /// Forgets the walk before.
    fn begin(&mut self, slots: u32) {
        for word in self.touched.drain(..) {
            self.bits[word as usize] = 0;
        }
        let words = slots.div_ceil(64) as usize;
        if self.bits.len() < words {
            self.bits.resize(words, 0);
        }
    }

    /// `true` if the node was not there before.
    #[inline(always)]
    fn insert(&mut self, node: u32) -> bool {
        let (word, bit) = (node / 64, 1 << (node % 64));
        let bits = &mut self.bits[word as usize];
        let is_new = *bits & bit == 0;
        if is_new {
            *bits |= bit;
            self.touched.push(word);
        }
        is_new
    }
}
