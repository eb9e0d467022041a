//! Makes every node reachable from the seeds.
//!
//! Lists keep only so many links, so a tight cluster can end up with none from outside. Each node that no walk can come to
//! is linked from a near one that walks do come to. Where no list near it has room, it takes the place of a list's last
//! link and links to that node in turn, so that nothing else is lost: `a → b` becomes `a → lost → b`.

use super::distance::Distances;
use super::walk::Walk;
use super::{NONE, WIDTH};
use crate::segment::vectors::Codes;
use crate::vector::Metric;

/// A lost node is linked from one of so many near nodes that have room, or else from the nearest.
const CANDIDATES: usize = 64;
/// Nodes reached between two questions whether to stop: the whole graph is reached from the first seed.
const ASK_EVERY: usize = 4_096;

/// Adds links to `neighbours`, shape `[rows, WIDTH]`, until all `nodes` can be reached from `seeds`, of which there is one
/// at least unless there are no nodes. `None` if `stop` said so.
pub(in crate::segment) fn repair(
    codes: Codes<'_>,
    nodes: &[u32],
    seeds: &[u32],
    neighbours: &mut [u32],
    stop: &(dyn Fn() -> bool + Sync),
) -> Option<()> {
    let mut repair = Repair {
        neighbours,
        reached: vec![false; codes.rows() as usize],
        stop,
    };
    seeds.iter().try_for_each(|&seed| repair.reach(seed))?;
    let lost = |repair: &Repair<'_>| -> Vec<u32> {
        let mut nodes = nodes.to_vec();
        nodes.retain(|&node| !repair.reached[node as usize]);
        nodes
    };
    // Nearly every lost node links to some node that is reached; a link back from there costs no walk.
    for node in lost(&repair) {
        if !repair.reached[node as usize]
            && let Some(slot) = repair.room_beside(node)
        {
            repair.neighbours[slot] = node;
            repair.reach(node)?;
        }
    }
    let far = lost(&repair);
    if !far.is_empty() {
        // Under every metric: by their products, all lost rows would be nearest to the same few long ones.
        let distances = Distances::new(codes, Metric::L2);
        let mut walk = Walk::new(codes.rows());
        for node in far {
            if !repair.reached[node as usize] {
                repair.link(node, &distances, &mut walk, seeds)?;
            }
        }
    }
    Some(())
}

struct Repair<'a> {
    neighbours: &'a mut [u32],
    reached: Vec<bool>,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl Repair<'_> {
    fn list(&self, node: u32) -> &[u32] {
        &self.neighbours[node as usize * WIDTH..][..WIDTH]
    }

    /// Marks the node and all that can be reached from it. `None` if it was stopped.
    fn reach(&mut self, node: u32) -> Option<()> {
        let mut queue = vec![node];
        for nth in 0_usize.. {
            if nth.is_multiple_of(ASK_EVERY) && (self.stop)() {
                return None;
            }
            let Some(node) = queue.pop() else { break };
            if !std::mem::replace(&mut self.reached[node as usize], true) {
                let reached = &self.reached;
                let list = &self.neighbours[node as usize * WIDTH..][..WIDTH];
                queue.extend(
                    list.iter()
                        .filter(|&&next| next != NONE && !reached[next as usize]),
                );
            }
        }
        Some(())
    }

    /// A free slot of the node's list.
    fn room(&self, node: u32) -> Option<usize> {
        let free = self.list(node).iter().position(|&next| next == NONE);
        free.map(|at| node as usize * WIDTH + at)
    }

    /// A free slot in the list of a reached neighbour.
    fn room_beside(&self, node: u32) -> Option<usize> {
        let mut linked = self.list(node).iter().filter(|&&next| next != NONE);
        linked.find_map(|&next| {
            self.reached[next as usize]
                .then(|| self.room(next))
                .flatten()
        })
    }

    /// Links a lost node from near it. `None` if it was stopped.
    fn link(
        &mut self,
        lost: u32,
        distances: &Distances<'_>,
        walk: &mut Walk,
        seeds: &[u32],
    ) -> Option<()> {
        let links = |row| self.list(row).iter().copied().filter(|&next| next != NONE);
        // It starts at the seeds, so all that it finds is reached.
        let near = walk.nearest(links, distances, lost, seeds, CANDIDATES);
        if let Some(slot) = near.iter().find_map(|near| self.room(near.row())) {
            self.neighbours[slot] = lost;
        } else if let Some(nearest) = near.first() {
            let last = nearest.row() as usize * WIDTH + WIDTH - 1;
            let behind = std::mem::replace(&mut self.neighbours[last], lost);
            if !self.list(lost).contains(&behind) {
                // A full list gives up its last link: what that led to is lost already, or reached otherwise.
                let slot = self.room(lost);
                self.neighbours[slot.unwrap_or(lost as usize * WIDTH + WIDTH - 1)] = behind;
            }
        }
        self.reach(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: u32 = 400;

    /// Different codes of 64 components; the ten islands of 40 nodes lie apart.
    fn codes() -> Vec<i8> {
        let code = |row: u32| {
            (0..64).map(move |at| match at {
                0 => (row / 40) as i8,
                _ => ((row % 40) >> (at % 6) & 1) as i8,
            })
        };
        (0..NODES).flat_map(code).collect()
    }

    /// Links each node to the `links` next ones of its island; the last three islands have no seed.
    fn islands(links: u32) -> Vec<u32> {
        let mut neighbours = vec![NONE; NODES as usize * WIDTH];
        for (row, list) in (0u32..).zip(neighbours.chunks_exact_mut(WIDTH)) {
            let linked = (1..=links).map(|step| row / 40 * 40 + (row + step) % 40);
            list.iter_mut()
                .zip(linked)
                .for_each(|(slot, to)| *slot = to);
        }
        neighbours
    }

    fn seeds() -> Vec<u32> {
        (0..256).collect()
    }

    fn reachable(neighbours: &mut [u32]) -> usize {
        let mut repair = Repair {
            neighbours,
            reached: vec![false; NODES as usize],
            stop: &|| false,
        };
        let reached = seeds().into_iter().try_for_each(|seed| repair.reach(seed));
        reached.expect("nobody stops it");
        repair.reached.iter().filter(|&&reached| reached).count()
    }

    fn all_are_reachable_after_repair(links: u32) {
        let codes = codes();
        let nodes: Vec<u32> = (0..NODES).collect();
        let mut neighbours = islands(links);
        assert_eq!(reachable(&mut neighbours), 280);
        let codes = Codes::new(&codes, 64);
        let stopped = repair(codes, &nodes, &seeds(), &mut neighbours.clone(), &|| true);
        assert_eq!(stopped, None);
        repair(codes, &nodes, &seeds(), &mut neighbours, &|| false).expect("nobody stops it");
        assert_eq!(reachable(&mut neighbours), NODES as usize);
    }

    #[test]
    fn islands_without_a_seed_are_linked_again() {
        all_are_reachable_after_repair(3);
    }

    #[test]
    fn islands_that_no_list_has_room_for_are_put_between_two_nodes() {
        all_are_reachable_after_repair(WIDTH as u32);
    }
}
