//! Our own builder: HNSW's construction on one layer, entered from seeds, by all threads of the rayon pool.
//!
//! Every node is inserted twice. The first time in random order, with little effort: that gives lists good enough to find
//! near nodes by, and a few long links from when the graph was small. The second time along those lists, from neighbour to
//! neighbour, so that walks which follow each other read rows that the processor still has in its cache.
//!
//! Threads share the lists as `links.rs` tells. Beside them they share two numbers, relaxed: `next` gives each place to one
//! thread, since additions to one atomic number happen one after the other in any case, and `stopped` tells nothing but
//! itself. Each pass ends with all of its threads joined, which hands over what they wrote to those of the next pass, and to
//! the one that reads the graph out: from there on no list is seen half rewritten.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::distance::Distances;
use super::insert::{Growing, Worker};
use super::links::Links;
use super::{GraphBuilder, MAX_SEEDS, NONE, RawGraph, Start, Task, WIDTH, shuffled};

/// Nodes that the walk for a node's first neighbours keeps.
const FIRST_EF: usize = 48;
/// Nodes that the walk for its better ones keeps.
const EF: usize = 200;
/// Slots of a list while the graph grows: room beyond [`WIDTH`] lets many back links pay for one choice among them.
const ROOM: usize = 48;
/// Nodes where the walks for neighbours start.
const ENTRIES: usize = 32;
/// Nodes that a thread takes at once, between two questions whether to stop.
const NODES_AT_ONCE: usize = 16;

/// Builds on all threads of the current rayon pool. On one thread the same task gives the same graph.
pub(in crate::segment) struct Parallel;

impl GraphBuilder for Parallel {
    fn build(&self, task: &Task<'_>) -> Option<RawGraph> {
        let order = shuffled(task.nodes, task.seed);
        let growing = Growing {
            distances: Distances::new(task.codes, task.metric),
            links: Links::new(task.codes.rows(), ROOM),
        };
        if let Some(start) = &task.start {
            let carry = |old, worker: &mut Worker| growing.carry(start, old, worker);
            each(task, &start.kept(), carry)?;
        }
        let linked = |node: u32| growing.links.read(node).next().is_some();
        let new: Vec<u32> = order
            .iter()
            .copied()
            .filter(|&node| !linked(node))
            .collect();
        let fresh = new.len() == order.len();
        let usable = |node| fresh || linked(node);
        let seeds = choose_seeds(task.start.as_ref(), &order, usable);
        let entries = &seeds[..ENTRIES.min(seeds.len())];
        if fresh {
            // The first ones alone, so that all others find a graph to enter.
            let mut worker = Worker::new(task.codes.rows());
            for (at, &node) in entries.iter().enumerate() {
                growing.insert(node, &entries[..at], FIRST_EF, &mut worker);
            }
        }
        each(task, &new, |node, worker| {
            growing.insert(node, entries, FIRST_EF, worker)
        })?;
        // Early nodes chose among few. Now each sees a whole graph.
        let new = chained(task, &new, &growing.links)?;
        each(task, &new, |node, worker| {
            growing.insert(node, entries, EF, worker)
        })?;
        each(task, &order, |node, worker| growing.shorten(node, worker))?;
        let mut neighbours = vec![NONE; task.codes.rows() as usize * WIDTH];
        for (row, list) in (0..).zip(neighbours.chunks_exact_mut(WIDTH)) {
            let linked = list.iter_mut().zip(growing.links.read(row));
            linked.for_each(|(slot, row)| *slot = row);
        }
        Some(RawGraph { neighbours, seeds })
    }
}

/// The seeds of the older graph, if there is one, and then as many other nodes as there may be; only `usable` ones. The
/// nodes stand shuffled, so any few of a new graph's seeds are a random sample of them.
fn choose_seeds(
    start: Option<&Start<'_>>,
    order: &[u32],
    usable: impl Fn(u32) -> bool,
) -> Vec<u32> {
    let mut taken = HashSet::new();
    let old = start.into_iter().flat_map(Start::seeds);
    old.chain(order.iter().copied())
        .filter(|&node| usable(node) && taken.insert(node))
        .take(MAX_SEEDS)
        .collect()
}

/// The nodes in an order where each mostly stands behind one of its neighbours: walks for such nodes meet the same rows,
/// which are then in the processor's cache. `None` if it was stopped.
fn chained(task: &Task<'_>, nodes: &[u32], links: &Links) -> Option<Vec<u32>> {
    let mut waiting = vec![false; task.codes.rows() as usize];
    nodes.iter().for_each(|&node| waiting[node as usize] = true);
    let mut chain = Vec::with_capacity(nodes.len());
    let mut stack = Vec::new();
    for &first in nodes {
        stack.push(first);
        while let Some(node) = stack.pop() {
            if std::mem::take(&mut waiting[node as usize]) {
                if chain.len() % (1 << 14) == 0 && (task.stop)() {
                    return None;
                }
                chain.push(node);
                let behind = stack.len();
                stack.extend(links.read(node).filter(|&next| waiting[next as usize]));
                // The nearest, which stand first in their list, come next.
                stack[behind..].reverse();
            }
        }
    }
    Some(chain)
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
