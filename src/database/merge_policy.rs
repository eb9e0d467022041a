//! Which segments are merged next.
//!
//! A segment's tier is its live rows' order of magnitude: 1 to 3 rows, 4 to 15, 16 to 63, and so on. Three things make a
//! merge due:
//!
//! - *Too many.* A tier holds [`TIER_SEGMENTS`]: these and all smaller ones become one. If that one makes its own tier too
//!   full, the merge takes that tier along at once.
//! - *Too many dead.* More than a fifth of a segment's rows are deleted: it is written anew, and all smaller ones with it.
//! - *No graph.* A segment that is scanned has rows enough for a graph: it is written anew, with others like it.
//!
//! Why the smaller ones are written along: where documents are replaced again and again, the rows that die in the large
//! segment live on in small ones. Written anew alone it shrinks, round after round, until nothing is left but middling
//! segments, and a query asks all of them: 15,000 rows replaced twenty times lay in two to six, and a query took 3 to 10
//! times as long as after a fresh build. Written together they are one segment again, and no more is written: of 100,000 rows
//! replaced twenty times, 2,000 at once, the largest segment holds 0.90 in the mean instead of 0.52, and about 5 rows are
//! written for each that is replaced either way.
//!
//! So when nothing is due a tier holds at most three segments, and n rows lie in at most 3·(log₄ n + 1) of them. A row is
//! written about log₄ n times because of full tiers; at most log₂ n times because a larger segment was stale, since the
//! rows that it lies with at least double each time; and once for each fifth of its own segment that dies. No merged
//! segment has more than `limit` rows. One that has more than half of that takes part in no merge of the first kind (two of
//! them would not fit together), so n rows lie in at most 2n ⁄ limit more; and one with more live rows than `limit` is left
//! alone.

use crate::segment::MERGED_GRAPH_FROM_ROWS;

/// So many segments in one tier become one.
const TIER_SEGMENTS: usize = 4;
/// A segment is written anew when more than one row of so many is dead.
const DEAD_ONE_OF: u64 = 5;

/// A segment as the policy sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub rows: u64,
    pub dead: u64,
    /// It has no graph.
    pub is_scanned: bool,
}

impl Size {
    fn live(self) -> u64 {
        self.rows - self.dead
    }

    fn tier(self) -> u32 {
        self.live().max(1).ilog(TIER_SEGMENTS as u64)
    }

    fn is_stale(self) -> bool {
        self.dead * DEAD_ONE_OF > self.rows
    }

    fn lacks_graph(self) -> bool {
        self.is_scanned && self.live() >= MERGED_GRAPH_FROM_ROWS as u64
    }
}

/// The segments to be merged next, by their places in `segments`, in order; none if nothing is due. Together they have at
/// most `limit` live rows.
pub(super) fn due(segments: &[Size], limit: u64) -> Vec<usize> {
    let mut chosen = too_many(segments, limit);
    if chosen.is_empty() {
        chosen = too_many_dead(segments, limit);
    }
    if chosen.is_empty() {
        let wanted = by_size(segments, |size| size.lacks_graph() && size.live() <= limit);
        chosen = within(segments, wanted, limit);
    }
    chosen.sort_unstable();
    chosen
}

/// The segments that hold dead rows, however few, the smallest first: as many as have at most `limit` live rows together.
pub(super) fn holding_dead(segments: &[Size], limit: u64) -> Vec<usize> {
    within(segments, by_size(segments, |size| size.dead > 0), limit)
}

fn too_many(segments: &[Size], limit: u64) -> Vec<usize> {
    let small = by_size(segments, |size| size.live() <= limit / 2);
    let tier = |at: usize| segments[at].tier();
    let full = |tier_wanted: u32, count: usize| {
        small.iter().filter(|&&at| tier(at) == tier_wanted).count() >= count
    };
    let Some(mut highest) = small
        .iter()
        .map(|&at| tier(at))
        .filter(|&tier| full(tier, TIER_SEGMENTS))
        .max()
    else {
        return Vec::new();
    };
    loop {
        let among: Vec<usize> = small
            .iter()
            .copied()
            .filter(|&at| tier(at) <= highest)
            .collect();
        let chosen = within(segments, among, limit);
        let rows = chosen.iter().map(|&at| segments[at].live()).sum();
        let result = Size {
            rows,
            dead: 0,
            is_scanned: false,
        };
        // With the new one, its tier would be full.
        if result.tier() <= highest || !full(result.tier(), TIER_SEGMENTS - 1) {
            return chosen;
        }
        highest = result.tier();
    }
}

fn too_many_dead(segments: &[Size], limit: u64) -> Vec<usize> {
    let stale = by_size(segments, |size| size.is_stale() && size.live() <= limit);
    let Some(&largest) = stale.last() else {
        return Vec::new();
    };
    let smaller = by_size(segments, |size| size.live() <= segments[largest].live());
    let smaller = smaller.into_iter().filter(|&at| at != largest);
    within(
        segments,
        std::iter::once(largest).chain(smaller).collect(),
        limit,
    )
}

/// The places of those wanted, the smallest first.
fn by_size(segments: &[Size], wanted: impl Fn(Size) -> bool) -> Vec<usize> {
    let mut places: Vec<usize> = (0..segments.len())
        .filter(|&at| wanted(segments[at]))
        .collect();
    places.sort_by_key(|&at| segments[at].live());
    places
}

/// As many of the first as have at most `limit` live rows together.
fn within(segments: &[Size], mut places: Vec<usize>, limit: u64) -> Vec<usize> {
    let mut rows = 0;
    let fit = places.iter().take_while(|&&at| {
        rows += segments[at].live();
        rows <= limit
    });
    places.truncate(fit.count());
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_graph(rows: u64, dead: u64) -> Size {
        Size {
            rows,
            dead,
            is_scanned: false,
        }
    }

    fn sizes(live: &[u64]) -> Vec<Size> {
        live.iter().map(|&rows| with_graph(rows, 0)).collect()
    }

    fn due_of(live: &[u64]) -> Vec<usize> {
        due(&sizes(live), u64::MAX)
    }

    /// Merges until nothing is due. Returns the rows that were written.
    fn settle(segments: &mut Vec<Size>, limit: u64) -> u64 {
        let mut written = 0;
        loop {
            let chosen = due(segments, limit);
            if chosen.is_empty() {
                return written;
            }
            let rows: u64 = chosen.iter().map(|&at| segments[at].live()).sum();
            assert!(rows <= limit);
            written += rows;
            for at in chosen.into_iter().rev() {
                segments.remove(at);
            }
            segments.push(with_graph(rows, 0));
        }
    }

    #[test]
    fn four_of_a_tier_are_merged_and_three_are_not() {
        assert!(due_of(&[100, 70, 80]).is_empty());
        assert_eq!(due_of(&[100, 70, 900, 80, 90]), [0, 1, 3, 4]);
    }

    #[test]
    fn smaller_ones_are_taken_along_and_larger_ones_are_not() {
        assert_eq!(due_of(&[1, 100, 5_000, 70, 80, 17, 90]), [0, 1, 3, 4, 5, 6]);
    }

    #[test]
    fn a_merge_that_would_fill_the_next_tier_takes_it_along() {
        assert_eq!(
            due_of(&[300, 400, 500, 100, 100, 100, 100]),
            [0, 1, 2, 3, 4, 5, 6]
        );
    }

    #[test]
    fn more_than_a_fifth_dead_makes_a_segment_due_with_all_smaller_ones() {
        let segments = [with_graph(100, 20), with_graph(10, 0)];
        assert!(due(&segments, u64::MAX).is_empty());
        let mut segments = [(100, 21), (10, 0), (100, 0), (110, 30)].map(|(r, d)| with_graph(r, d));
        assert_eq!(due(&segments, u64::MAX), [0, 1, 3]);
        assert_eq!(
            due(&segments, 100),
            [1, 3],
            "as many as fit, the stale one first"
        );
        assert_eq!(due(&segments, 79), [0], "the largest does not fit at all");
        segments[3] = with_graph(1_000, 0);
        assert_eq!(due(&segments, u64::MAX), [0, 1]);
    }

    #[test]
    fn segments_with_rows_enough_for_a_graph_get_one_and_keep_it() {
        const ENOUGH: u64 = MERGED_GRAPH_FROM_ROWS as u64;
        let scanned = |rows, dead| Size {
            is_scanned: true,
            ..with_graph(rows, dead)
        };
        let segments = [
            scanned(ENOUGH, 0),
            scanned(ENOUGH, 1),
            with_graph(ENOUGH, 0),
        ];
        assert_eq!(due(&segments, u64::MAX), [0]);
        assert!(
            due(&segments, ENOUGH - 1).is_empty(),
            "no merge without a graph"
        );
        assert!(due(&segments[1..], u64::MAX).is_empty());
    }

    #[test]
    fn documents_replaced_again_and_again_stay_in_one_large_segment_and_few_small_ones() {
        // Each call replaces 500 of 15,000 documents, the one that was replaced longest ago first.
        const ROWS: u64 = 15_000;
        const CALL: u64 = 500;
        let mut segments = vec![with_graph(ROWS, 0)];
        let mut written = 0;
        for _ in 0..20 * ROWS / CALL {
            // The dead come from all segments, by their share.
            let live: u64 = segments.iter().map(|size| size.live()).sum();
            let mut left = CALL;
            for size in &mut segments {
                let died = (CALL * size.live())
                    .div_ceil(live)
                    .min(left)
                    .min(size.live());
                size.dead += died;
                left -= died;
            }
            segments.push(with_graph(CALL, 0));
            written += settle(&mut segments, u64::MAX);
            let largest = segments.iter().map(|size| size.live()).max().expect("one");
            assert!(largest * 10 >= ROWS * 7, "{segments:?}");
            assert!(segments.len() <= 7, "{segments:?}");
        }
        assert!(written <= 20 * ROWS * 8, "{written} rows");
    }

    #[test]
    fn one_row_a_segment_ends_in_few_segments_and_few_writes() {
        let mut segments = Vec::new();
        let (mut written, mut most) = (0, 0);
        const ROWS: u64 = 20_000;
        for _ in 0..ROWS {
            segments.push(with_graph(1, 0));
            written += settle(&mut segments, u64::MAX);
            most = most.max(segments.len());
        }
        assert!(most <= 3 * (ROWS.ilog(4) as usize + 1), "{most} segments");
        assert!(
            written <= ROWS * (u64::from(ROWS.ilog(4)) + 2),
            "{written} rows"
        );
    }

    #[test]
    fn with_a_limit_segments_stay_within_it_and_are_not_written_again() {
        let mut segments = Vec::new();
        let mut written = 0;
        for _ in 0..10_000 {
            segments.push(with_graph(10, 0));
            written += settle(&mut segments, 1_000);
        }
        // At least half full each, but for the last few.
        assert!(segments.len() <= 200 + 15, "{} segments", segments.len());
        assert!(written <= 100_000 * 6, "{written} rows");
    }
}
