//! The frozen graph: what is stored of it, how it is made whole, how it is validated.
//!
//!   builder/ → a raw graph, repaired → `Frozen::new` → sections → `Graph::open` → search.rs
//!
//! Upper layers are replaced by at most [`MAX_SEEDS`] of their nodes, which every walk scores first. Rows with equal codes
//! would crowd each other out of the neighbour lists, so only the first of them is a node and the others are its *twins*,
//! found through it. Every node is reachable from the seeds, and walks start from orphans too (`findable.rs`).

use std::collections::{HashMap, HashSet};

use super::builder::{GraphBuilder, MAX_SEEDS, NONE, RawGraph, Start, Task, WIDTH, repair};
use super::format::Kind;
use super::kernel::prefetch_line;
use super::map::as_u32;
use super::sections::Sections;
use super::vectors::Codes;
use crate::error::Result;
use crate::vector::Metric;

/// Nodes that every walk scores first, in files written now: on 100,000 rows a walk from 8 finds as much as one from 256,
/// and each costs a distance. Some more are there for rows in heaps far apart.
const SEEDS: usize = 64;

/// A graph ready to be written.
pub(super) struct Frozen {
    /// Shape `[rows, WIDTH]`.
    pub neighbours: Vec<u32>,
    pub seeds: Vec<u32>,
    /// Nodes where walks start, too.
    pub orphans: Vec<u32>,
    /// Pairs of a node and a row with the same code, sorted.
    pub twins: Vec<[u32; 2]>,
}

impl Frozen {
    /// Builds the graph of all rows, from `start` on if there is one. `None` if `stop` said so.
    pub fn new(
        codes: Codes<'_>,
        metric: Metric,
        builder: &dyn GraphBuilder,
        start: Option<Start<'_>>,
        seed: u64,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Option<Self> {
        let (nodes, twins) = group_by_code(codes);
        let now = start.map(|start| nodes_of(start.now, &twins, codes.rows()));
        let RawGraph {
            mut neighbours,
            mut seeds,
        } = builder.build(&Task {
            codes,
            metric,
            nodes: &nodes,
            start: start
                .zip(now.as_deref())
                .map(|(start, now)| Start { now, ..start }),
            seed,
            stop,
        })?;
        seeds.truncate(SEEDS);
        repair(codes, &nodes, &seeds, &mut neighbours, stop)?;
        Some(Self {
            neighbours,
            seeds,
            orphans: Vec::new(),
            twins,
        })
    }

    /// The graph with its nodes numbered in the order in which a walk from the seeds on can meet them, breadth first, each
    /// node's twins behind it, so that what is read together stands together. Also returns the row that each number stands
    /// for.
    pub fn in_walking_order(self) -> (Self, Vec<u32>) {
        let rows = self.neighbours.len() / WIDTH;
        let mut order = Vec::with_capacity(rows);
        let mut slots = vec![NONE; rows];
        let graph = self.as_graph();
        let mut place = |row: u32, order: &mut Vec<u32>| {
            let slot = &mut slots[row as usize];
            if *slot == NONE {
                *slot = order.len() as u32;
                order.push(row);
            }
        };
        for &start in self.seeds.iter().chain(&self.orphans) {
            place(start, &mut order);
        }
        let mut at = 0;
        while let Some(&row) = order.get(at) {
            at += 1;
            for twin in graph.twins(row) {
                place(twin, &mut order);
            }
            for &neighbour in graph.neighbours(row) {
                place(neighbour, &mut order);
            }
        }
        // None, if the repair did what it says.
        for row in 0..rows as u32 {
            place(row, &mut order);
        }
        let slot = |row: u32| slots.get(row as usize).copied().unwrap_or(NONE);
        let all = |rows: &[u32]| rows.iter().map(|&row| slot(row)).collect::<Vec<u32>>();
        let mut twins: Vec<[u32; 2]> = self.twins.iter().map(|pair| pair.map(slot)).collect();
        twins.sort_unstable();
        let neighbours = order
            .iter()
            .flat_map(|&row| &self.neighbours[row as usize * WIDTH..][..WIDTH])
            .map(|&neighbour| slot(neighbour))
            .collect();
        let graph = Self {
            neighbours,
            seeds: all(&self.seeds),
            orphans: all(&self.orphans),
            twins,
        };
        (graph, order)
    }

    /// Links `node` from the first of `from` that has room, or else puts it between one of these and a neighbour of that
    /// one: `a → b` becomes `a → node → b`, so that nothing else is lost. Links in `kept` stay; what is made goes there.
    /// `false` if nothing could be done.
    pub fn link(&mut self, from: &[u32], node: u32, kept: &mut HashSet<[u32; 2]>) -> bool {
        let place = |neighbours: &[u32], of: u32, wanted: u32| {
            let first = of as usize * WIDTH;
            let list = &neighbours[first..first + WIDTH];
            list.iter()
                .position(|&to| to == wanted)
                .map(|at| first + at)
        };
        let room = from
            .iter()
            .find_map(|&from| place(&self.neighbours, from, NONE));
        if let Some(at) = room {
            self.neighbours[at] = node;
            return true;
        }
        for &from in from {
            let first = from as usize * WIDTH;
            for at in (first..first + WIDTH).rev() {
                let behind = self.neighbours[at];
                let onwards = place(&self.neighbours, node, behind)
                    .or_else(|| place(&self.neighbours, node, NONE));
                if let Some(onwards) = onwards.filter(|_| !kept.contains(&[from, behind])) {
                    self.neighbours[onwards] = behind;
                    self.neighbours[at] = node;
                    kept.extend([[from, node], [node, behind]]);
                    return true;
                }
            }
        }
        false
    }

    /// The graph as a reader sees it.
    pub fn as_graph(&self) -> Graph<'_> {
        Graph {
            neighbours: &self.neighbours,
            seeds: &self.seeds,
            orphans: &self.orphans,
            twins: &self.twins,
        }
    }
}

/// The first row of each code, and (first row, other row) for all others.
fn group_by_code(codes: Codes<'_>) -> (Vec<u32>, Vec<[u32; 2]>) {
    let mut first: HashMap<&[i8], u32> = HashMap::with_capacity(codes.rows() as usize);
    let (mut nodes, mut twins) = (Vec::new(), Vec::new());
    for row in 0..codes.rows() {
        let node = *first.entry(codes.row(row)).or_insert(row);
        if node == row {
            nodes.push(row)
        } else {
            twins.push([node, row])
        }
    }
    twins.sort_unstable();
    (nodes, twins)
}

/// For each row its node; [`NONE`] stays.
fn nodes_of(rows: &[u32], twins: &[[u32; 2]], count: u32) -> Vec<u32> {
    let mut nodes: Vec<u32> = (0..count).collect();
    for &[node, twin] in twins {
        nodes[twin as usize] = node;
    }
    let node = |&row: &u32| nodes.get(row as usize).copied().unwrap_or(NONE);
    rows.iter().map(node).collect()
}

/// The graph of an open segment.
#[derive(Clone, Copy, Default)]
pub(super) struct Graph<'a> {
    neighbours: &'a [u32],
    pub seeds: &'a [u32],
    pub orphans: &'a [u32],
    /// Pairs of a node and a row with the same code, sorted.
    twins: &'a [[u32; 2]],
}

impl<'a> Graph<'a> {
    /// The graph, not yet validated. `None` if the segment has none.
    pub fn new(sections: &'a Sections) -> Option<Self> {
        let neighbours = as_u32(sections.bytes(Kind::Neighbours));
        let twins = as_u32(sections.bytes(Kind::Twins)).as_chunks().0;
        let (seeds, orphans) = (
            as_u32(sections.bytes(Kind::Seeds)),
            as_u32(sections.bytes(Kind::Orphans)),
        );
        (!neighbours.is_empty()).then_some(Self {
            neighbours,
            seeds,
            orphans,
            twins,
        })
    }

    /// Compares the sections' lengths with each other and with the header.
    pub fn check_lengths(sections: &'a Sections) -> Result<()> {
        let header = sections.header();
        let rows = header.rows as usize;
        let Some(graph) = Self::new(sections) else {
            let none = [
                Kind::Neighbours,
                Kind::Twins,
                Kind::Seeds,
                Kind::Orphans,
                Kind::Order,
                Kind::Calibration,
                Kind::Int4Quantiser,
                Kind::Int4Codes,
            ];
            return none
                .into_iter()
                .try_for_each(|kind| sections.expect_length(kind, Some(0)));
        };
        sections.expect_length(Kind::Neighbours, rows.checked_mul(4 * WIDTH))?;
        sections.expect_length(Kind::Seeds, Some(4 * graph.seeds.len().min(MAX_SEEDS)))?;
        sections.expect_length(Kind::Orphans, Some(4 * graph.orphans.len()))?;
        sections.expect_length(Kind::Twins, Some(8 * graph.twins.len()))?;
        // Format 1 has its rows in their own order.
        let order = if header.version < 2 { 0 } else { 4 * rows };
        sections.expect_length(Kind::Order, Some(order))
    }

    /// Checks that every id is a slot, so that a walk reads nothing else. The sections' checksums were compared before.
    pub fn validate(sections: &'a Sections) -> Result<()> {
        let rows = sections.header().rows;
        let Some(graph) = Self::new(sections) else {
            return Ok(());
        };
        for (kind, ids) in [
            (Kind::Seeds, graph.seeds),
            (Kind::Orphans, graph.orphans),
            (Kind::Twins, graph.twins.as_flattened()),
        ] {
            if let Some(at) = ids.iter().position(|&id| id >= rows) {
                return Err(sections.damaged(kind, 4 * at, "it names a row that is not there"));
            }
        }
        if let Some(at) = graph
            .neighbours
            .iter()
            .position(|&id| id >= rows && id != NONE)
        {
            return Err(sections.damaged(
                Kind::Neighbours,
                4 * at,
                "a node links to a row that is not there",
            ));
        }
        if graph.seeds.is_empty() {
            return Err(sections.damaged(Kind::Seeds, 0, "the graph has no seeds"));
        }
        if let Some(at) = wrong_twin(graph.twins, rows) {
            let what = "the twins do not stand in order, or a row stands there twice";
            return Err(sections.damaged(Kind::Twins, 8 * at, what));
        }
        Ok(())
    }

    /// Bytes of one list.
    pub fn list_bytes(&self) -> usize {
        4 * WIDTH
    }

    /// All lists, shape `[rows, WIDTH]`.
    pub fn lists(&self) -> &'a [u32] {
        self.neighbours
    }

    /// Pairs of a node and a row with the same code.
    pub fn all_twins(&self) -> &'a [[u32; 2]] {
        self.twins
    }

    /// Asks for a node's list from memory.
    #[inline(always)]
    pub fn prefetch(&self, node: u32) {
        let list = &self.neighbours[node as usize * WIDTH..][..WIDTH];
        let (first, second) = list.split_at(WIDTH / 2);
        prefetch_line(first);
        prefetch_line(second);
    }

    /// Nodes linked from `node`.
    #[inline(always)]
    pub fn neighbours(&self, node: u32) -> &'a [u32] {
        let list = &self.neighbours[node as usize * WIDTH..][..WIDTH];
        let used = list
            .iter()
            .position(|&neighbour| neighbour == NONE)
            .unwrap_or(WIDTH);
        &list[..used]
    }

    /// Are there any rows with equal codes?
    pub fn has_twins(&self) -> bool {
        !self.twins.is_empty()
    }

    /// Other rows with the code of `node`.
    pub fn twins(&self, node: u32) -> impl Iterator<Item = u32> + 'a {
        let start = self.twins.partition_point(|pair| pair[0] < node);
        self.twins[start..]
            .iter()
            .take_while(move |pair| pair[0] == node)
            .map(|pair| pair[1])
    }
}

/// The first pair that is not as [`group_by_code`] makes them: each behind the one before it, a node before its twins, and
/// each twin of one node only. A walk would otherwise find a row more than once.
fn wrong_twin(twins: &[[u32; 2]], rows: u32) -> Option<usize> {
    let mut seen = vec![false; rows as usize];
    (0..twins.len()).find(|&at| {
        let [node, twin] = twins[at];
        let behind = at == 0 || twins[at - 1] < twins[at];
        !behind || node >= twin || std::mem::replace(&mut seen[twin as usize], true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_stand_in_order_behind_their_node_and_once() {
        assert_eq!(wrong_twin(&[[0, 3], [0, 5], [1, 2]], 6), None);
        assert_eq!(wrong_twin(&[], 6), None);
        for (twins, at) in [
            (&[[0, 3], [0, 3]][..], 1),
            (&[[1, 2], [0, 3]], 1),
            (&[[0, 3], [4, 4]], 1),
            (&[[4, 3]], 0),
            (&[[0, 3], [1, 2], [1, 3]], 2),
        ] {
            assert_eq!(wrong_twin(twins, 6), Some(at), "{twins:?}");
        }
    }
}
