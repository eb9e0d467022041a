//! The search that finds a node's neighbours: HNSW's algorithm 2 with a sorted array as its beam.

use super::distance::{Distances, Near};

/// What a walk needs; the next walk of the thread uses it again.
pub(super) struct Walk {
    /// The walk that last visited each row.
    visited: Vec<u8>,
    walk: u8,
    /// Rows to be scored now, and then how far they are.
    fresh: Vec<u32>,
    products: Vec<i32>,
    scored: Vec<Near>,
    /// The best nodes so far, the nearest first.
    beam: Vec<Near>,
    /// Which nodes of the beam were not expanded yet.
    open: Vec<bool>,
}

impl Walk {
    pub fn new(rows: u32) -> Self {
        Self {
            visited: vec![0; rows as usize],
            walk: 0,
            fresh: Vec::new(),
            products: Vec::new(),
            scored: Vec::new(),
            beam: Vec::new(),
            open: Vec::new(),
        }
    }

    /// About the `ef` nearest nodes to `target` along `links`, the nearest first, without itself. Starts at `seeds`.
    pub fn nearest<I: IntoIterator<Item = u32>>(
        &mut self,
        links: impl Fn(u32) -> I,
        distances: &Distances<'_>,
        target: u32,
        seeds: &[u32],
        ef: usize,
    ) -> &[Near] {
        self.begin();
        self.visited[target as usize] = self.walk;
        self.visit(seeds.iter().copied());
        // Every node of the beam before this place is expanded.
        let mut next = self.score(distances, target, ef).min(self.beam.len());
        while let Some(open) = self.open.get_mut(next) {
            if !std::mem::take(open) {
                next += 1;
                continue;
            }
            self.visit(links(self.beam[next].row()));
            next = (next + 1).min(self.score(distances, target, ef));
        }
        &self.beam
    }

    fn begin(&mut self) {
        if self.walk == u8::MAX {
            self.visited.fill(0);
            self.walk = 0;
        }
        self.walk += 1;
        self.beam.clear();
        self.open.clear();
    }

    fn visit(&mut self, rows: impl IntoIterator<Item = u32>) {
        self.fresh.clear();
        for row in rows {
            let last = &mut self.visited[row as usize];
            if *last != self.walk {
                *last = self.walk;
                self.fresh.push(row);
            }
        }
    }

    /// Takes the fresh rows into the beam. Returns the first place that changed.
    fn score(&mut self, distances: &Distances<'_>, target: u32, ef: usize) -> usize {
        distances.each(target, &self.fresh, &mut self.products, &mut self.scored);
        let mut first = usize::MAX;
        for &near in &self.scored {
            if self.beam.len() >= ef {
                if self.beam.last().is_none_or(|&last| near >= last) {
                    continue;
                }
                self.beam.pop();
                self.open.pop();
            }
            let place = self.beam.partition_point(|&other| other < near);
            self.beam.insert(place, near);
            self.open.insert(place, true);
            first = first.min(place);
        }
        first
    }
}
