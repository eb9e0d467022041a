//! The frozen graph: what is stored of it, how it is made whole, how it is validated.
//!
//!   builder/ → a raw graph → `Frozen::new`: seeds, repaired links, orphans → sections → `Graph::open` → search.rs
//!
//! Upper layers are replaced by at most [`MAX_SEEDS`] of their nodes, which every walk scores first. Rows with equal codes
//! would crowd each other out of the neighbour lists, so only the first of them is a node and the others are its *twins*,
//! found through it. Every node is reachable from the seeds and orphans.

use std::collections::HashMap;

use super::builder::{GraphBuilder, MAX_SEEDS, NONE, RawGraph, Task, WIDTH};
use super::format::Kind;
use super::kernel::{Kernel, prefetch_line};
use super::map::as_u32;
use super::sections::Sections;
use super::vectors::Codes;
use crate::error::Result;
use crate::vector::Metric;

/// A lost node is linked from one of so many nearest reachable nodes, or else becomes an orphan.
const LINK_CANDIDATES: usize = 64;

/// A graph ready to be written.
pub(super) struct Frozen {
    /// Shape `[rows, WIDTH]`.
    pub neighbours: Vec<u32>,
    pub seeds: Vec<u32>,
    pub orphans: Vec<u32>,
    /// Pairs of a node and a row with the same code, sorted.
    pub twins: Vec<[u32; 2]>,
}

impl Frozen {
    /// Builds the graph of all rows. `None` if `stop` said so.
    pub fn new(
        codes: Codes<'_>,
        metric: Metric,
        builder: &dyn GraphBuilder,
        seed: u64,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Option<Self> {
        let (nodes, twins) = group_by_code(codes);
        let RawGraph {
            mut neighbours,
            seeds,
        } = builder.build(&Task {
            codes,
            metric,
            nodes: &nodes,
            seed,
            stop,
        })?;
        let orphans = Repair::new(codes, &mut neighbours, &nodes).run(&seeds);
        Some(Self {
            neighbours,
            seeds,
            orphans,
            twins,
        })
    }
}

impl Frozen {
    /// The graph with its nodes numbered in the order in which a walk from the seeds on can meet them, breadth first, each
    /// node's twins behind it, so that what is read together stands together. Also returns the row that each number stands
    /// for.
    pub fn in_walking_order(self) -> (Self, Vec<u32>) {
        let rows = self.neighbours.len() / WIDTH;
        let mut order = Vec::with_capacity(rows);
        let mut slots = vec![NONE; rows];
        let twins_of = |node: u32| {
            let start = self.twins.partition_point(|pair| pair[0] < node);
            self.twins[start..]
                .iter()
                .take_while(move |pair| pair[0] == node)
                .map(|pair| pair[1])
        };
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
            for twin in twins_of(row) {
                place(twin, &mut order);
            }
            for &neighbour in &self.neighbours[row as usize * WIDTH..][..WIDTH] {
                if neighbour != NONE {
                    place(neighbour, &mut order);
                }
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

/// Back links keep only the nearest, so a tight cluster can end up with no link from outside. This links it again.
struct Repair<'a> {
    codes: Codes<'a>,
    neighbours: &'a mut [u32],
    nodes: &'a [u32],
    reached: Vec<bool>,
    queue: Vec<u32>,
}

impl<'a> Repair<'a> {
    fn new(codes: Codes<'a>, neighbours: &'a mut [u32], nodes: &'a [u32]) -> Self {
        Self {
            codes,
            neighbours,
            nodes,
            reached: vec![false; codes.rows() as usize],
            queue: Vec::new(),
        }
    }

    /// Returns the orphans.
    fn run(mut self, seeds: &[u32]) -> Vec<u32> {
        for &seed in seeds {
            self.reached[seed as usize] = true;
        }
        self.queue.extend(seeds);
        self.spread();
        // Nearly every lost node links to some node that is reached; a link back from there costs no search.
        for &lost in self.nodes {
            if !self.reached[lost as usize]
                && let Some(from) = self.neighbour_with_room(lost)
            {
                self.link(from, lost);
            }
        }
        let mut orphans = Vec::new();
        for &lost in self.nodes {
            if self.reached[lost as usize] {
                continue;
            }
            match self.nearest_with_room(lost) {
                Some(from) => self.link(from, lost),
                None => {
                    orphans.push(lost);
                    self.reach(lost);
                }
            }
        }
        orphans
    }

    fn link(&mut self, from: u32, lost: u32) {
        let slot = self.free_slot(from).expect("the caller saw it");
        self.neighbours[slot] = lost;
        self.reach(lost);
    }

    fn reach(&mut self, node: u32) {
        self.reached[node as usize] = true;
        self.queue.push(node);
        self.spread();
    }

    fn spread(&mut self) {
        while let Some(node) = self.queue.pop() {
            for slot in node as usize * WIDTH..(node as usize + 1) * WIDTH {
                let neighbour = self.neighbours[slot];
                if neighbour != NONE
                    && !std::mem::replace(&mut self.reached[neighbour as usize], true)
                {
                    self.queue.push(neighbour);
                }
            }
        }
    }

    fn neighbour_with_room(&self, lost: u32) -> Option<u32> {
        let list = &self.neighbours[lost as usize * WIDTH..][..WIDTH];
        let mut linked = list.iter().copied().filter(|&node| node != NONE);
        linked.find(|&node| self.reached[node as usize] && self.free_slot(node).is_some())
    }

    fn nearest_with_room(&self, lost: u32) -> Option<u32> {
        let kernel = Kernel::best();
        let code = self.codes.row(lost);
        let distance = |node: u32| {
            let other = self.codes.row(node);
            i64::from(kernel.dot(other, other)) - 2 * i64::from(kernel.dot(other, code))
        };
        let reached = self
            .nodes
            .iter()
            .copied()
            .filter(|&node| self.reached[node as usize]);
        let mut near: Vec<(i64, u32)> = reached.map(|node| (distance(node), node)).collect();
        let wanted = LINK_CANDIDATES.min(near.len());
        if wanted > 0 {
            near.select_nth_unstable(wanted - 1);
        }
        near.truncate(wanted);
        near.sort_unstable();
        near.into_iter()
            .map(|(_, node)| node)
            .find(|&node| self.free_slot(node).is_some())
    }

    fn free_slot(&self, node: u32) -> Option<usize> {
        let start = node as usize * WIDTH;
        self.neighbours[start..start + WIDTH]
            .iter()
            .position(|&neighbour| neighbour == NONE)
            .map(|at| start + at)
    }
}

/// The graph of an open segment.
#[derive(Clone, Copy)]
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

    const NODES: u32 = 400;

    /// Links each node to the `links` next ones of its island of 40.
    struct Islands {
        links: u32,
    }

    impl GraphBuilder for Islands {
        fn build(&self, task: &Task<'_>) -> Option<RawGraph> {
            let mut neighbours = vec![NONE; task.nodes.len() * WIDTH];
            for (row, list) in (0u32..).zip(neighbours.chunks_exact_mut(WIDTH)) {
                let linked = (1..=self.links).map(|step| row / 40 * 40 + (row + step) % 40);
                list.iter_mut()
                    .zip(linked)
                    .for_each(|(slot, to)| *slot = to);
            }
            // The last islands have no seeds.
            let seeds = (0..MAX_SEEDS as u32).collect();
            Some(RawGraph { neighbours, seeds })
        }
    }

    fn codes() -> Vec<i8> {
        // Different codes; islands lie apart.
        let code = |row: u32| {
            (0..64).map(move |at| {
                if at == 0 {
                    (row / 40) as i8
                } else {
                    ((row % 40) >> (at % 6) & 1) as i8
                }
            })
        };
        (0..NODES).flat_map(code).collect()
    }

    fn reached(frozen: &Frozen) -> usize {
        let mut reached = vec![false; NODES as usize];
        let mut queue: Vec<u32> = [frozen.seeds.as_slice(), &frozen.orphans].concat();
        while let Some(node) = queue.pop() {
            if !std::mem::replace(&mut reached[node as usize], true) {
                let list = &frozen.neighbours[node as usize * WIDTH..][..WIDTH];
                queue.extend(list.iter().filter(|&&neighbour| neighbour != NONE));
            }
        }
        reached.into_iter().filter(|&reached| reached).count()
    }

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

    #[test]
    fn islands_without_a_seed_are_linked_again() {
        let codes = codes();
        let frozen = Frozen::new(
            Codes::new(&codes, 64),
            Metric::L2,
            &Islands { links: 3 },
            0,
            &|| false,
        )
        .expect("nothing stops it");
        assert_eq!(frozen.seeds.len(), MAX_SEEDS);
        assert!(frozen.orphans.is_empty());
        assert_eq!(reached(&frozen), NODES as usize);
    }

    #[test]
    fn islands_that_no_list_has_room_for_become_orphans() {
        let codes = codes();
        let frozen = Frozen::new(
            Codes::new(&codes, 64),
            Metric::L2,
            &Islands {
                links: WIDTH as u32,
            },
            0,
            &|| false,
        )
        .expect("nothing stops it");
        // Three islands have no seed; one orphan reaches the rest of its island.
        assert_eq!(frozen.orphans, [280, 320, 360]);
        assert_eq!(reached(&frozen), NODES as usize);
    }
}
