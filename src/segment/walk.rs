//! The walk: from the seeds along the graph to the nodes nearest to a query.
//!
//! HNSW's base-layer search (arXiv:1603.09320, algorithm 2) on codes. What was met is kept in one array, sorted by key, that
//! is both the frontier and the result.
//!
//! How many nodes are looked at is the query's own affair: a walk ends when so many have not changed the best k (Teofili and Lin,
//! Patience in Proximity, ECIR 2025), or when what is left is much further than the k-th (Al-Jazzazi et al. 2025, distance-adaptive
//! beam search). A beam of one length for all gives every query the effort that the hardest need. `calibration.rs` has the figures.
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

/// How far a walk goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Width {
    /// Nodes kept at most, at least 1.
    pub ef: usize,
    /// So many are looked at, however far they are, if so many are kept.
    pub least: usize,
    /// The walk is for so many nodes.
    pub rank: usize,
    /// When it ends before it has looked at all that are kept; `None`: never.
    pub patience: Option<Patience>,
}

/// When a walk has arrived.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Patience {
    /// So many nodes looked at did not change those wanted,
    pub nodes: usize,
    /// or all others are further than these by more than this part of how far they are ([`QueryCode::beyond`]).
    pub slack: f32,
}

impl Width {
    /// Looks at all nodes that are kept.
    pub fn fixed(ef: usize) -> Self {
        Self {
            ef,
            least: ef,
            rank: ef,
            patience: None,
        }
    }
}

/// What to walk over and how far.
pub(super) struct Walk<'a> {
    pub keys: Keys<'a>,
    pub graph: Graph<'a>,
    pub code: &'a QueryCode,
    pub width: Width,
    /// Nodes that the walk is not to see.
    pub without: &'a [u32],
    /// A walk that has arrived goes no further than to nodes with this key.
    pub least_key: i32,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ended {
    /// The least key cut it short.
    pub cut_short: bool,
    /// Nodes whose neighbours were looked at.
    pub looked_at: usize,
}

/// A node met, and its key: higher is nearer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Met {
    pub key: i32,
    pub slot: u32,
}

impl Walk<'_> {
    /// Gives `take` the best nodes that it met, best first, at most `ef`, and how it ended.
    pub fn run<T>(&self, take: impl FnOnce(&[Met], Ended) -> T) -> T {
        SCRATCH.with_borrow_mut(|scratch| {
            let ended = self.go(scratch);
            take(&scratch.beam, ended)
        })
    }

    /// Nodes with lower keys are not looked at, and those with keys lower by what keys leave in doubt are not kept.
    #[inline(always)]
    fn floor(&self, beam: &[Met]) -> i32 {
        let Width {
            least,
            rank,
            patience,
            ..
        } = self.width;
        let at = |rank: usize| beam.get(rank - 1);
        match (patience, at(rank), at(least)) {
            (Some(patience), Some(wanted), Some(last)) => {
                let beyond = self.code.beyond(wanted.key, patience.slack);
                beyond.min(last.key)
            }
            _ => i32::MIN,
        }
    }

    fn go(&self, scratch: &mut Scratch) -> Ended {
        let Width {
            ef, least, rank, ..
        } = self.width;
        let patience = self.width.patience.map_or(usize::MAX, |it| it.nodes);
        scratch.begin(self.keys.codes.rows());
        for &without in self.without {
            scratch.visited.insert(without);
        }
        for &start in self.graph.seeds.iter().chain(self.graph.orphans) {
            self.visit(scratch, start);
        }
        // Nodes looked at since the best, and since one of those wanted, was found, and all.
        let (mut stale, mut waited, mut looked_at) = (0, 0, 0);
        // All of the beam before this place were looked at.
        let mut next = 0;
        let cut_short = loop {
            std::mem::swap(&mut scratch.fresh, &mut scratch.coming);
            scratch.coming.clear();
            let beam = &mut scratch.beam;
            let floor = self.floor(beam);
            let least_kept = floor.saturating_sub(self.code.doubt());
            while beam.get(next).is_some_and(|met| met.slot & LOOKED_AT != 0) {
                next += 1;
            }
            match beam.get_mut(next) {
                Some(met) if met.key < self.least_key && stale >= STALE => break true,
                Some(met) if met.key >= floor && (waited < patience || next < least) => {
                    let node = met.slot;
                    met.slot |= LOOKED_AT;
                    looked_at += 1;
                    for &neighbour in self.graph.neighbours(node) {
                        self.visit(scratch, neighbour);
                    }
                }
                _ if scratch.fresh.is_empty() => break false,
                _ => {}
            }
            let Scratch {
                fresh, keys, beam, ..
            } = scratch;
            keys.clear();
            self.keys.of(self.code, fresh, keys);
            stale += 1;
            waited += 1;
            for (&slot, &key) in fresh.iter().zip(keys.iter()) {
                let is_full = beam.len() >= ef;
                if key < least_kept
                    || (is_full && beam.last().is_some_and(|worst| key <= worst.key))
                {
                    continue;
                }
                let at = beam.partition_point(|met| met.key >= key);
                beam.truncate(ef - 1);
                beam.insert(at, Met { key, slot });
                next = next.min(at);
                if at == 0 {
                    stale = 0;
                }
                if at < rank {
                    waited = 0;
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
        Ended {
            cut_short,
            looked_at,
        }
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
