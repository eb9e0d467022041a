//! Our own builder: HNSW's construction on one flat layer, entered from seeds, by all threads of the rayon pool.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::distance::Distances;
use super::insert::{Growing, Worker};
use super::links::Links;
use super::{GraphBuilder, MAX_SEEDS, NONE, RawGraph, Start, Task, WIDTH, shuffled};

/// Nodes that a thread takes at once, between two questions whether to stop.
const NODES_AT_ONCE: usize = 16;

/// How much work goes into a graph.
#[derive(Clone, Debug)]
pub(in crate::segment) struct Settings {
    /// Nodes that the walk for a node's first neighbours keeps.
    pub first_ef: usize,
    /// Nodes that the walk for its better ones keeps.
    pub ef: usize,
    /// Neighbours that a node chooses, at most; back links may fill the rest of its list.
    pub links: usize,
    /// Slots of a list while the graph grows: room beyond [`WIDTH`] lets many back links pay for one choice among them.
    pub room: usize,
    /// See [`select`](super::select::select).
    pub slack: f32,
    /// How often each node is inserted: the second time it sees a whole graph.
    pub passes: usize,
    /// Entries of the walks for neighbours.
    pub entries: usize,
}

/// Builds on all threads of the current rayon pool. On one thread the same task gives the same graph.
pub(in crate::segment) struct Parallel(pub Settings);

impl Parallel {
    /// As measured: see the module's text.
    pub const DEFAULT: Self = Self(Settings {
        first_ef: 64,
        ef: 100,
        links: 24,
        room: 48,
        slack: 1.1,
        passes: 2,
        entries: 32,
    });
}

impl GraphBuilder for Parallel {
    fn build(&self, task: &Task<'_>) -> Option<RawGraph> {
        let Self(settings) = self;
        let order = shuffled(task.nodes, task.seed);
        let growing = Growing {
            settings,
            distances: Distances::new(task.codes, task.metric),
            links: Links::new(task.codes.rows(), settings.room),
        };
        if let Some(start) = &task.start {
            let carry = |old, worker: &mut Worker| growing.carry(start, old, worker);
            each(task, &start.kept(), carry)?;
        }
        let linked = |node: u32| growing.links.read(node).next().is_some();
        let mut new: Vec<u32> = order
            .iter()
            .copied()
            .filter(|&node| !linked(node))
            .collect();
        let fresh = new.len() == order.len();
        let mut taken = HashSet::new();
        let seeds: Vec<u32> = task
            .start
            .iter()
            .flat_map(Start::seeds)
            .chain(order.iter().copied())
            .filter(|&node| (fresh || linked(node)) && taken.insert(node))
            .take(MAX_SEEDS)
            .collect();
        let entries = &seeds[..settings.entries.min(seeds.len())];
        if fresh {
            // The first ones alone, so that all others find a graph to enter.
            let mut worker = Worker::new(task.codes.rows());
            for (at, &node) in entries.iter().enumerate() {
                growing.insert(node, &entries[..at], settings.first_ef, &mut worker);
            }
        }
        each(task, &new, |node, worker| {
            growing.insert(node, entries, settings.first_ef, worker)
        })?;
        for _ in 1..settings.passes {
            new = chained(&new, &growing.links, task.codes.rows());
            each(task, &new, |node, worker| {
                growing.insert(node, entries, settings.ef, worker)
            })?;
        }
        each(task, &order, |node, worker| growing.shorten(node, worker))?;
        let mut neighbours = vec![NONE; task.codes.rows() as usize * WIDTH];
        for (row, list) in (0..).zip(neighbours.chunks_exact_mut(WIDTH)) {
            let linked = list.iter_mut().zip(growing.links.read(row));
            linked.for_each(|(slot, row)| *slot = row);
        }
        Some(RawGraph { neighbours, seeds })
    }
}

/// The nodes in an order where each mostly stands behind one of its neighbours: walks for such nodes meet the same rows,
/// which are then in the processor's cache.
fn chained(nodes: &[u32], links: &Links, rows: u32) -> Vec<u32> {
    let mut waiting = vec![false; rows as usize];
    nodes.iter().for_each(|&node| waiting[node as usize] = true);
    let mut chain = Vec::with_capacity(nodes.len());
    let mut stack = Vec::new();
    for &first in nodes {
        stack.push(first);
        while let Some(node) = stack.pop() {
            if std::mem::take(&mut waiting[node as usize]) {
                chain.push(node);
                let behind = stack.len();
                stack.extend(links.read(node).filter(|&next| waiting[next as usize]));
                // The nearest, which stand first in their list, come next.
                stack[behind..].reverse();
            }
        }
    }
    chain
}

/// Does `work` for all nodes on all threads, roughly in order, on one thread in order. `None` if it was stopped.
fn each(task: &Task<'_>, nodes: &[u32], work: impl Fn(u32, &mut Worker) + Sync) -> Option<()> {
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let run = || {
        let mut worker = Worker::new(task.codes.rows());
        while !stopped.load(Relaxed) {
            let start = next.fetch_add(NODES_AT_ONCE, Relaxed);
            let Some(nodes) = nodes.get(start..) else {
                break;
            };
            if nodes.is_empty() {
                break;
            }
            if (task.stop)() {
                stopped.store(true, Relaxed);
                break;
            }
            for &node in nodes.iter().take(NODES_AT_ONCE) {
                work(node, &mut worker);
            }
        }
    };
    rayon::scope(|scope| {
        for _ in 0..rayon::current_num_threads() {
            scope.spawn(|_| run());
        }
    });
    (!stopped.into_inner()).then_some(())
}
