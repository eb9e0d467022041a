//! A graph made earlier, whose rows have other numbers now and some of which are gone → lists to go on from.
//!
//! Where a neighbour is gone, what it linked to takes its place: the node is linked again to the best of what is left and
//! of those, by the same rule that chose its links. So walks cross the holes that deleted rows leave.

use super::insert::{Growing, Worker};
use super::{NONE, WIDTH};

/// A graph over a part of the nodes, to which the others are to be added.
#[derive(Clone, Copy)]
pub(in crate::segment) struct Start<'a> {
    /// Shape `[old rows, WIDTH]`, filled up with [`NONE`].
    pub neighbours: &'a [u32],
    /// Old rows that walks started from.
    pub seeds: &'a [u32],
    /// For each old row the row that now has its vector, or [`NONE`] if none has. Where a node is deleted but a twin of it
    /// is left, that is the twin.
    pub now: &'a [u32],
}

impl Start<'_> {
    fn old(&self, row: u32) -> impl Iterator<Item = u32> {
        let list = &self.neighbours[row as usize * WIDTH..][..WIDTH];
        list.iter().copied().take_while(|&row| row != NONE)
    }

    fn now(&self, old: u32) -> Option<u32> {
        Some(self.now[old as usize]).filter(|&row| row != NONE)
    }

    /// Old rows that are nodes still.
    pub fn kept(&self) -> Vec<u32> {
        let old = 0..self.now.len() as u32;
        let linked = |&old: &u32| self.now(old).is_some() && self.old(old).next().is_some();
        old.filter(linked).collect()
    }

    /// The seeds that are nodes still.
    pub fn seeds(&self) -> Vec<u32> {
        self.seeds.iter().filter_map(|&old| self.now(old)).collect()
    }
}

impl Growing<'_> {
    /// Gives the node of an old row its links.
    pub fn carry(&self, start: &Start<'_>, old: u32, worker: &mut Worker) {
        let Some(node) = start.now(old) else { return };
        worker.rows.clear();
        let mut whole = true;
        for neighbour in start.old(old) {
            match start.now(neighbour) {
                Some(row) => worker.rows.push(row),
                None => {
                    whole = false;
                    let behind = start.old(neighbour).filter_map(|old| start.now(old));
                    worker.rows.extend(behind);
                }
            }
        }
        let list = self.links.lock(node);
        // Coded anew, two old rows may have become one node: this one, or two neighbours of it.
        let shared = list.rows().next().is_some();
        worker.rows.extend(list.rows());
        worker.rows.retain(|&row| row != node);
        if whole && !shared {
            for &row in &worker.rows {
                list.add(row);
            }
        } else {
            worker.rows.sort_unstable();
            worker.rows.dedup();
            self.rewrite(node, &list, WIDTH, worker);
        }
    }
}
