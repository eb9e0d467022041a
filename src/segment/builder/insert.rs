//! One node into the graph: found, linked, linked back (HNSW's algorithm 1 on one layer).

use super::WIDTH;
use super::distance::{Distances, Near};
use super::links::{Links, Locked};
use super::select::select;
use super::walk::Walk;

/// Neighbours that a node chooses, at most; back links fill more of its list.
const LINKS: usize = 24;

/// A graph while it is built, shared by all threads.
pub(super) struct Growing<'a> {
    pub distances: Distances<'a>,
    pub links: Links,
}

/// What one thread needs to insert.
pub(super) struct Worker {
    walk: Walk,
    pub rows: Vec<u32>,
    products: Vec<i32>,
    candidates: Vec<Near>,
    kept: Vec<u32>,
}

impl Worker {
    pub fn new(rows: u32) -> Self {
        Self {
            walk: Walk::new(rows),
            rows: Vec::new(),
            products: Vec::new(),
            candidates: Vec::new(),
            kept: Vec::new(),
        }
    }
}

impl Growing<'_> {
    /// Links a node to the best that a walk from `seeds` finds and those to it. Of a node that has links already it makes
    /// better ones.
    pub fn insert(&self, node: u32, seeds: &[u32], ef: usize, worker: &mut Worker) {
        let links = |row| self.links.read(row);
        let found = worker.walk.nearest(links, &self.distances, node, seeds, ef);
        worker.rows.clear();
        worker.rows.extend(found.iter().map(|near| near.row()));
        let list = self.links.lock(node);
        let known = worker.rows.len();
        for row in list.rows() {
            if !worker.rows[..known].contains(&row) {
                worker.rows.push(row);
            }
        }
        self.rewrite(node, &list, LINKS, worker);
        // No thread holds two locks.
        drop(list);
        let chosen = std::mem::take(&mut worker.kept);
        for &neighbour in &chosen {
            self.link(neighbour, node, worker);
        }
        worker.kept = chosen;
    }

    /// Adds the link `from` → `to`. A full list is chosen anew.
    fn link(&self, from: u32, to: u32, worker: &mut Worker) {
        let list = self.links.lock(from);
        if !list.add(to) {
            worker.rows.clear();
            worker.rows.extend(list.rows());
            worker.rows.push(to);
            self.rewrite(from, &list, WIDTH, worker);
        }
    }

    /// Brings a list down to the width of the file.
    pub fn shorten(&self, node: u32, worker: &mut Worker) {
        let list = self.links.lock(node);
        worker.rows.clear();
        worker.rows.extend(list.rows());
        if worker.rows.len() > WIDTH {
            self.rewrite(node, &list, WIDTH, worker);
        }
    }

    /// Links `node` to the best of `worker.rows`, which all differ, at most `most`, and leaves them in `worker.kept`.
    pub fn rewrite(&self, node: u32, list: &Locked<'_>, most: usize, worker: &mut Worker) {
        let Worker {
            rows,
            products,
            candidates,
            kept,
            ..
        } = worker;
        self.distances.each(node, rows, products, candidates);
        candidates.sort_unstable();
        select(&self.distances, candidates, most, kept);
        list.replace(kept.iter().copied());
    }
}
