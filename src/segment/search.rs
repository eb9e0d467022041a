//! A query and a selection → the best rows: by a walk over the graph where that is faster, by the scan otherwise.
//!
//! The walk is HNSW's base-layer search (arXiv:1603.09320, algorithm 2) on int8 codes from the seeds on. Rows that are not
//! selected are walked through but never returned.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use roaring::RoaringBitmap;

use super::flat::{self, scan};
use super::graph::Graph;
use super::quantise::QueryCode;
use super::rerank::{candidates_for, rerank};
use super::vectors::Space;
use super::{Nearest, RowHit, Selection};
use crate::error::Result;

/// A selection of at most so many rows is scanned.
const SCAN_ROWS: u64 = 20_000;
/// Nodes kept by a walk, at least.
const MIN_EF: usize = 128;

/// The best selected rows. Fewer than `k` only if fewer are selected and reach the least score.
pub(super) fn search(
    space: Space<'_>,
    graph: Option<Graph<'_>>,
    nearest: &Nearest<'_>,
    code: &QueryCode,
    selection: Selection<'_>,
) -> Result<Vec<RowHit>> {
    let mut hits = all_scores(space, graph, nearest, code, selection)?;
    hits.retain(|hit| hit.score >= nearest.least_score);
    Ok(hits)
}

/// All selected rows whose score reaches `least_score`, best first: exact.
pub(super) fn within(
    space: Space<'_>,
    query: &[f32],
    code: &QueryCode,
    least_score: f32,
    selection: Selection<'_>,
) -> Result<Vec<RowHit>> {
    let rows = selection.rows(space.codes.rows());
    flat::within(space, query, code, least_score, &rows)
}

fn all_scores(
    space: Space<'_>,
    graph: Option<Graph<'_>>,
    nearest: &Nearest<'_>,
    code: &QueryCode,
    selection: Selection<'_>,
) -> Result<Vec<RowHit>> {
    let (query, k) = (nearest.vector, nearest.k);
    let rows = space.codes.rows();
    let selected = selection.count(rows);
    let k = k.min(selected as usize);
    if k == 0 {
        return Ok(Vec::new());
    }
    if let Some(graph) = graph
        && walk_is_faster(rows, selected, k)
    {
        let walk = Walk {
            space,
            graph,
            code,
            ef: MIN_EF.max(2 * k),
            most_visits: selected,
        };
        let hits = match selection {
            Selection::All => walk.run(query, k, |_| true),
            Selection::Except(dead) => walk.run(query, k, |row| !dead.contains(row)),
            Selection::Only(wanted) => walk.run(query, k, |row| wanted.contains(row)),
        }?;
        if let Some(hits) = hits.filter(|hits| hits.len() == k) {
            return Ok(hits);
        }
    }
    scan(space, nearest, code, &selection.rows(rows))
}

fn walk_is_faster(rows: u32, selected: u64, k: usize) -> bool {
    let rows = u64::from(rows);
    let few = selected <= SCAN_ROWS.max(rows / 20);
    // Where most rows are selected a walk meets them at once, however few rows there are.
    let most = selected >= rows - rows / 4;
    // A walk that keeps a good part of the segment costs more than reading it in order.
    (most || !few) && 16 * k as u64 <= rows
}

impl Selection<'_> {
    /// How many of the segment's rows are selected.
    fn count(self, rows: u32) -> u64 {
        match self {
            Self::All => u64::from(rows),
            Self::Except(dead) => u64::from(rows) - below(dead, rows),
            Self::Only(wanted) => below(wanted, rows),
        }
    }

    /// The selected rows, in order.
    fn rows(self, rows: u32) -> Vec<u32> {
        match self {
            Self::All => (0..rows).collect(),
            Self::Except(dead) => {
                let mut dead = dead.iter().peekable();
                (0..rows)
                    .filter(|&row| dead.next_if_eq(&row).is_none())
                    .collect()
            }
            Self::Only(wanted) => wanted.iter().take_while(|&row| row < rows).collect(),
        }
    }
}

fn below(bitmap: &RoaringBitmap, rows: u32) -> u64 {
    rows.checked_sub(1).map_or(0, |last| bitmap.rank(last))
}

struct Walk<'a> {
    space: Space<'a>,
    graph: Graph<'a>,
    code: &'a QueryCode,
    /// Selected nodes kept.
    ef: usize,
    /// A walk that visits more nodes gives up.
    most_visits: u64,
}

impl Walk<'_> {
    /// `None` if it gave up. Fewer than `k` hits if the walk met no more.
    fn run(
        &self,
        query: &[f32],
        k: usize,
        selected: impl Fn(u32) -> bool,
    ) -> Result<Option<Vec<RowHit>>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let rows = self.space.codes.rows();
            scratch.begin(rows);
            let mut visits = 0;
            scratch.take_unvisited(self.graph.seeds);
            scratch.take_unvisited(self.graph.orphans);
            loop {
                visits += scratch.fresh.len() as u64;
                if visits > self.most_visits {
                    return Ok(None);
                }
                scratch.products.clear();
                self.space
                    .keys(self.code, &scratch.fresh, &mut scratch.products);
                for (&node, &product) in scratch.fresh.iter().zip(&scratch.products) {
                    let full = scratch.kept.len() >= self.ef;
                    if full
                        && scratch
                            .kept
                            .peek()
                            .is_some_and(|least| product <= least.0.0)
                    {
                        continue;
                    }
                    scratch.frontier.push((product, Reverse(node)));
                    if self.any_selected(node, &selected) {
                        if full {
                            scratch.kept.pop();
                        }
                        scratch.kept.push(Reverse((product, node)));
                    }
                }
                let Some((product, Reverse(node))) = scratch.frontier.pop() else {
                    break;
                };
                if scratch.kept.len() >= self.ef
                    && scratch.kept.peek().is_some_and(|least| product < least.0.0)
                {
                    break;
                }
                scratch.fresh.clear();
                scratch.take_unvisited(self.graph.neighbours(node));
            }
            self.finish(query, k, &mut scratch.kept, selected).map(Some)
        })
    }

    fn any_selected(&self, node: u32, selected: impl Fn(u32) -> bool) -> bool {
        selected(node) || (self.graph.has_twins() && self.graph.twins(node).any(selected))
    }

    /// The best kept nodes and their twins, scored in f32.
    fn finish(
        &self,
        query: &[f32],
        k: usize,
        kept: &mut BinaryHeap<Reverse<(i32, u32)>>,
        selected: impl Fn(u32) -> bool,
    ) -> Result<Vec<RowHit>> {
        while kept.len() > candidates_for(k) {
            kept.pop();
        }
        let mut rows = Vec::with_capacity(kept.len());
        for Reverse((_, node)) in kept.drain() {
            rows.extend(std::iter::once(node).filter(|&row| selected(row)));
            if self.graph.has_twins() {
                rows.extend(self.graph.twins(node).filter(|&row| selected(row)));
            }
        }
        rerank(self.space, query, k, rows)
    }
}

/// What a walk needs and the next walk of the thread uses again. It grows to one byte a row of the largest segment.
#[derive(Default)]
struct Scratch {
    /// The walk that last visited each row.
    visited: Vec<u8>,
    walk: u8,
    /// Nodes to be scored now.
    fresh: Vec<u32>,
    products: Vec<i32>,
    /// Nodes whose neighbours were not looked at yet, the best on top.
    frontier: BinaryHeap<(i32, Reverse<u32>)>,
    /// The best selected nodes, the worst on top.
    kept: BinaryHeap<Reverse<(i32, u32)>>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Scratch {
    fn begin(&mut self, rows: u32) {
        if self.walk == u8::MAX {
            self.visited.fill(0);
            self.walk = 0;
        }
        self.walk += 1;
        if self.visited.len() < rows as usize {
            self.visited.resize(rows as usize, 0);
        }
        self.fresh.clear();
        self.frontier.clear();
        self.kept.clear();
    }

    fn take_unvisited(&mut self, nodes: &[u32]) {
        for &node in nodes {
            let last = &mut self.visited[node as usize];
            if *last != self.walk {
                *last = self.walk;
                self.fresh.push(node);
            }
        }
    }
}
