//! One vector over all parts of a snapshot: rows that may be found → the best rows of each part → documents.
//!
//! Parts are asked from the largest to the smallest, and each is told the score that a row must have to matter: the k-th
//! so far. Rows are passages, and a document may hold many of the best: where the best rows do not show enough documents,
//! twice as many are asked for.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::part::{Part, Snapshot};
use super::query::{Hit, Scored};
use crate::error::Result;
use crate::filter::Filter;
use crate::segment::{Effort, Nearest, Segment, Selection, SlotSet};

/// The parts of a snapshot with the rows that may be found in each.
pub(super) struct Search<'a> {
    /// As in the snapshot.
    parts: Vec<Searched<'a>>,
    /// Positions in `parts`, the largest part first.
    order: Vec<usize>,
    /// Does some part have documents of many passages?
    many_passages: bool,
}

/// A part, and which of its rows may be found.
struct Searched<'a> {
    segment: Arc<Segment>,
    matching: Option<Arc<SlotSet>>,
    without: Cow<'a, SlotSet>,
}

impl Searched<'_> {
    fn selection(&self) -> Selection<'_> {
        Selection {
            only: self.matching.as_deref(),
            ..Selection::except(&self.without)
        }
    }
}

/// A document's best row.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// The part's place in the snapshot.
    part: usize,
    row: u32,
    pub score: f32,
}

/// What is wanted of the documents.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// At most so many.
    pub documents: usize,
    /// None with a lower score.
    pub least_score: f32,
    pub effort: Effort,
}

impl<'a> Search<'a> {
    /// Live documents that match the filter, but for `without`: parts and ordinals of documents.
    pub fn new(
        snapshot: &'a Snapshot,
        filter: Option<&Filter>,
        without: &[(usize, u32)],
    ) -> Result<Self> {
        let searched = |(at, part): (usize, &'a Part)| {
            let segment = part.segment()?;
            let mut left_out = RoaringBitmap::new();
            for &(_, document) in without.iter().filter(|&&(part, _)| part == at) {
                left_out.insert_range(segment.rows_of(document));
            }
            let matching = filter.map(|filter| segment.matching(filter)).transpose()?;
            let without = if left_out.is_empty() {
                Cow::Borrowed(part.dead_slots(&segment)?)
            } else {
                Cow::Owned(segment.slots_of(&(left_out | &*part.dead))?)
            };
            Ok(Searched {
                segment,
                matching,
                without,
            })
        };
        let parts: Vec<_> = snapshot
            .parts
            .iter()
            .enumerate()
            .map(searched)
            .collect::<Result<_>>()?;
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by_key(|&at| Reverse(parts[at].segment.rows()));
        Ok(Self {
            many_passages: parts
                .iter()
                .any(|part| part.segment.documents() != part.segment.rows()),
            parts,
            order,
        })
    }

    /// The best documents, best first.
    pub fn best(&self, query: &[f32], wanted: Wanted) -> Result<Vec<Found>> {
        let rows = self.parts.iter().map(|part| part.segment.rows() as usize);
        let all_rows: usize = rows.sum();
        let documents = wanted.documents.min(all_rows);
        let mut rows_wanted = documents;
        loop {
            let mut found = self.best_rows(query, rows_wanted, wanted)?;
            let no_more = found.len() < rows_wanted || rows_wanted == all_rows;
            self.keep_documents(&mut found);
            if found.len() >= documents || no_more {
                found.truncate(documents);
                return Ok(found);
            }
            rows_wanted = rows_wanted.saturating_mul(2).min(all_rows);
        }
    }

    /// All documents that reach the score, best first.
    pub fn within(&self, query: &[f32], least_score: f32) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for (part, searched) in self.parts.iter().enumerate() {
            let selection = searched.selection();
            let hits = searched.segment.within(query, least_score, selection)?;
            found.extend(hits.into_iter().map(|hit| Found {
                part,
                row: hit.row,
                score: hit.score,
            }));
        }
        found.sort_unstable_by(Found::best_first);
        self.keep_documents(&mut found);
        Ok(found)
    }

    fn best_rows(&self, query: &[f32], rows: usize, wanted: Wanted) -> Result<Vec<Found>> {
        let mut best: Vec<Found> = Vec::new();
        if rows == 0 {
            return Ok(best);
        }
        for &part in &self.order {
            let searched = &self.parts[part];
            let worst = best.get(rows - 1).map(|found| found.score);
            let nearest = Nearest {
                vector: query,
                k: rows,
                effort: wanted.effort,
                // An equal score is still wanted: ties go to the part that comes first.
                least_score: worst
                    .map_or(wanted.least_score, |score| score.max(wanted.least_score)),
            };
            let hits = searched.segment.search(&nearest, searched.selection())?;
            best.extend(hits.into_iter().map(|hit| Found {
                part,
                row: hit.row,
                score: hit.score,
            }));
            best.sort_unstable_by(Found::best_first);
            best.truncate(rows);
        }
        Ok(best)
    }

    /// Keeps the first row of each document.
    fn keep_documents(&self, found: &mut Vec<Found>) {
        if self.many_passages {
            let mut seen = HashSet::with_capacity(found.len());
            found.retain(|found| seen.insert((found.part, self.document(found))));
        }
    }

    /// The document's part and ordinal.
    pub fn place(&self, found: &Found) -> (usize, u32) {
        (found.part, self.document(found))
    }

    fn document(&self, found: &Found) -> u32 {
        self.parts[found.part].segment.document_of(found.row)
    }

    /// The document with its passage and all that is stored with it.
    pub fn hit(&self, found: &Found) -> Result<Hit> {
        let segment = &self.parts[found.part].segment;
        let document = self.document(found);
        let attributes = segment.attributes(document)?;
        Ok(Hit {
            id: segment.document_id(document).to_owned(),
            score: found.score,
            passage: segment.passage_text(found.row)?,
            range: segment.range(found.row),
            title: attributes.title,
            fields: attributes.fields,
            source: attributes.source,
        })
    }

    /// The document's id and the place of its passage, from tables that lie in memory.
    pub fn scored(&self, found: &Found) -> Scored {
        let segment = &self.parts[found.part].segment;
        Scored {
            id: segment.document_id(self.document(found)).to_owned(),
            score: found.score,
            range: segment.range(found.row),
        }
    }
}

impl Found {
    /// Ties by age.
    fn best_first(a: &Self, b: &Self) -> std::cmp::Ordering {
        let by_age = (a.part, a.row).cmp(&(b.part, b.row));
        b.score.total_cmp(&a.score).then(by_age)
    }
}
