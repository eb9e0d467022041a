//! Our own builder: HNSW's construction on one flat layer, entered from seeds, by all threads of the rayon pool.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::distance::{Distances, Near};
use super::links::Links;
use super::select::select;
use super::walk::Walk;
use super::{GraphBuilder, MAX_SEEDS, NONE, RawGraph, Task, WIDTH, shuffled};

#[derive(Clone, Debug)]
pub(in crate::segment) struct Parallel {
    pub ef: usize,
    pub links: usize,
    pub room: usize,
    pub slack: f32,
    pub fill: bool,
    pub final_slack: f32,
    pub final_fill: bool,
    pub passes: usize,
    pub seeds: usize,
}

impl Parallel {
    pub const DEFAULT: Self = Self {
        ef: 200,
        links: 16,
        room: 48,
        slack: 1.0,
        fill: false,
        final_slack: 1.0,
        final_fill: false,
        passes: 1,
        seeds: MAX_SEEDS,
    };
}

impl GraphBuilder for Parallel {
    fn build(&self, task: &Task<'_>) -> Option<RawGraph> {
        let order = shuffled(task.nodes, task.seed);
        let distances = Distances::new(task.codes, task.metric);
        let links = Links::new(task.codes.rows(), self.room);
        let seeds: Vec<u32> = order.iter().copied().take(self.seeds).collect();
        let build = Build {
            settings: self,
            distances,
            links,
            stop: task.stop,
        };
        // The first ones alone, so that all others find a graph to enter.
        let mut worker = Worker::new(task.codes.rows());
        for (at, &node) in seeds.iter().enumerate() {
            build.insert(node, &seeds[..at], &mut worker);
        }
        if !build.each(&order[seeds.len()..], |node, worker| {
            build.insert(node, &seeds, worker)
        }) {
            return None;
        }
        for _ in 1..self.passes {
            if !build.each(&order, |node, worker| build.insert(node, &seeds, worker)) {
                return None;
            }
        }
        if !build.each(&order, |node, worker| build.shrink(node, worker)) {
            return None;
        }
        let mut neighbours = vec![NONE; task.codes.rows() as usize * WIDTH];
        for (row, list) in neighbours.chunks_exact_mut(WIDTH).enumerate() {
            list.iter_mut()
                .zip(build.links.read(row as u32))
                .for_each(|(slot, row)| *slot = row);
        }
        Some(RawGraph { neighbours, seeds })
    }
}

struct Build<'a> {
    settings: &'a Parallel,
    distances: Distances<'a>,
    links: Links,
    stop: &'a (dyn Fn() -> bool + Sync),
}

struct Worker {
    walk: Walk,
    rows: Vec<u32>,
    products: Vec<i32>,
    candidates: Vec<Near>,
    kept: Vec<u32>,
}

impl Worker {
    fn new(rows: u32) -> Self {
        Self {
            walk: Walk::new(rows),
            rows: Vec::new(),
            products: Vec::new(),
            candidates: Vec::new(),
            kept: Vec::new(),
        }
    }
}

impl Build<'_> {
    /// Does `work` for all nodes, roughly in order; in order if the pool has one thread. `false` if it was stopped.
    fn each(&self, nodes: &[u32], work: impl Fn(u32, &mut Worker) + Sync) -> bool {
        let next = AtomicUsize::new(0);
        let stopped = AtomicBool::new(false);
        let run = || {
            let mut worker = Worker::new(self.distances.rows());
            loop {
                let at = next.fetch_add(16, Relaxed);
                if at >= nodes.len() || stopped.load(Relaxed) {
                    break;
                }
                if (self.stop)() {
                    stopped.store(true, Relaxed);
                }
                for &node in nodes[at..].iter().take(16) {
                    work(node, &mut worker);
                }
            }
        };
        rayon::scope(|scope| {
            for _ in 0..rayon::current_num_threads() {
                scope.spawn(|_| run());
            }
        });
        !stopped.load(Relaxed)
    }

    fn insert(&self, node: u32, seeds: &[u32], worker: &mut Worker) {
        let found =
            worker
                .walk
                .nearest(&self.links, &self.distances, node, seeds, self.settings.ef);
        worker.candidates.clear();
        worker.candidates.extend(found);
        {
            let list = self.links.lock(node);
            let before = worker.candidates.len();
            for row in list.rows() {
                if !worker.candidates[..before]
                    .iter()
                    .any(|near| near.row() == row)
                {
                    worker
                        .candidates
                        .push(Near::new(self.distances.between(node, row), row));
                }
            }
            worker.candidates.sort_unstable();
            select(
                &self.distances,
                &worker.candidates,
                self.settings.links,
                self.settings.slack,
                self.settings.fill,
                &mut worker.kept,
            );
            list.replace(worker.kept.iter().copied());
        }
        let chosen = std::mem::take(&mut worker.kept);
        for &neighbour in &chosen {
            self.link(neighbour, node, worker);
        }
        worker.kept = chosen;
    }

    /// Adds the link `from` → `to`; a full list is selected anew.
    fn link(&self, from: u32, to: u32, worker: &mut Worker) {
        let list = self.links.lock(from);
        if list.add(to) {
            return;
        }
        worker.rows.clear();
        worker.rows.extend(list.rows());
        worker.rows.push(to);
        self.distances.each(
            from,
            &worker.rows,
            &mut worker.products,
            &mut worker.candidates,
        );
        worker.candidates.sort_unstable();
        select(
            &self.distances,
            &worker.candidates,
            WIDTH,
            self.settings.slack,
            self.settings.fill,
            &mut worker.kept,
        );
        list.replace(worker.kept.iter().copied());
    }

    fn shrink(&self, node: u32, worker: &mut Worker) {
        let list = self.links.lock(node);
        worker.rows.clear();
        worker.rows.extend(list.rows());
        if worker.rows.len() <= WIDTH {
            return;
        }
        self.distances.each(
            node,
            &worker.rows,
            &mut worker.products,
            &mut worker.candidates,
        );
        worker.candidates.sort_unstable();
        select(
            &self.distances,
            &worker.candidates,
            WIDTH,
            self.settings.final_slack,
            self.settings.final_fill,
            &mut worker.kept,
        );
        list.replace(worker.kept.iter().copied());
    }
}
