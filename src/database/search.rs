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
        let range = segment.range(found.row);
        let headings = attributes.outline.headings_at(range.start);
        Ok(Hit {
            headings: headings.into_iter().map(str::to_owned).collect(),
            page: attributes.outline.page_at(range.start),
            id: segment.document_id(document).to_owned(),
            score: found.score,
            passage: segment.passage_text(found.row)?,
            range,
            title: attributes.title,
            fields: attributes.fields,
            source: attributes.source,
        })
    }

    /// Asks for what [`scored`](Self::scored) reads from memory: for many hits at once the waits overlap.
    pub fn prefetch(&self, found: &[Found]) {
        for Found { part, row, .. } in found {
            self.parts[*part].segment.prefetch_row(*row);
        }
        for Found { part, row, .. } in found {
            self.parts[*part].segment.prefetch_id(*row);
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::document::{Attributes, EmbeddedDocument, EmbeddedPassage};
    use crate::store::CollectionRecord;
    use crate::vector::{Metric, Vector};

    /// Documents of up to 30 passages in parts of falling size; components are few, so that ties are common.
    fn snapshot(documents: &[Vec<[i8; 3]>]) -> Snapshot {
        let record = CollectionRecord {
            id: 1,
            name: "notes".into(),
            metric: Metric::Dot,
            dimension: Some(3),
            encoder: None,
            segments: Vec::new(),
        };
        let mut snapshot = Snapshot::new(record, Vec::new());
        let spec = snapshot.spec().expect("it has a dimension");
        for (nth, passages) in documents.iter().enumerate() {
            let passage = |components: &[i8; 3]| {
                EmbeddedPassage::new(
                    0..1,
                    Vector::new(components.map(f32::from).to_vec()).expect("finite"),
                )
            };
            let document = EmbeddedDocument {
                id: nth.to_string(),
                text: "x".into(),
                attributes: Attributes::default(),
                content_hash: 0,
                passages: passages.iter().map(passage).collect(),
            };
            snapshot.push(&spec, vec![Arc::new(document)]);
        }
        snapshot
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn documents_of_many_passages_hide_no_other_document(
            documents in prop::collection::vec(prop::collection::vec(prop::array::uniform3(-3i8..=3), 1..30), 1..40),
            query in prop::array::uniform3(-3i8..=3),
            wanted in 1usize..30,
            deleted in prop::collection::vec(0usize..40, 0..8),
            least in prop::option::of(-9i8..9),
        ) {
            let mut snapshot = snapshot(&documents);
            for nth in deleted {
                if let Some((part, document)) = snapshot.find(&nth.to_string()) {
                    snapshot.parts[part].bury(document);
                }
            }
            let dot = |x: &[i8; 3]| x.iter().zip(&query).map(|(&x, &q)| f32::from(x) * f32::from(q)).sum::<f32>();
            let best: BTreeMap<String, f32> = documents
                .iter()
                .enumerate()
                .filter(|(nth, _)| snapshot.find(&nth.to_string()).is_some())
                .map(|(nth, passages)| (nth.to_string(), passages.iter().map(dot).fold(f32::MIN, f32::max)))
                .collect();
            let least_score = least.map_or(f32::NEG_INFINITY, f32::from);
            let mut ranked: Vec<f32> = best.values().copied().filter(|&score| score >= least_score).collect();
            ranked.sort_by(|a, b| b.total_cmp(a));

            let search = Search::new(&snapshot, None, &[]).expect("parts in memory");
            let asked = query.map(f32::from);
            let found = search.best(&asked, Wanted { documents: wanted, least_score, effort: Effort::Recall(0.95) });
            let within = search.within(&asked, least_score).expect("whole");
            prop_assert_eq!(within.len(), ranked.len());
            for (found, ranked) in [(found.expect("whole"), &ranked[..wanted.min(ranked.len())]), (within, &ranked[..])] {
                let scores: Vec<f32> = found.iter().map(|found| found.score).collect();
                prop_assert_eq!(&scores, ranked);
                let mut ids: Vec<String> = Vec::new();
                for found in &found {
                    let scored = search.scored(found);
                    prop_assert_eq!(Some(&scored.score), best.get(&scored.id));
                    ids.push(scored.id);
                }
                ids.sort_unstable();
                ids.dedup();
                prop_assert_eq!(ids.len(), found.len(), "each document once");
            }
        }
    }

    #[test]
    fn of_equal_scores_the_oldest_come_first_whichever_part_is_asked_first() {
        // 1, 2, 4 and 8 documents of one passage: parts of very different sizes, all scores equal.
        let documents = vec![vec![[1, 1, 1]]; 15];
        let snapshot = snapshot(&documents);
        assert!(snapshot.parts.len() > 2);
        let search = Search::new(&snapshot, None, &[]).expect("parts in memory");
        for documents in 1..15 {
            let wanted = Wanted {
                documents,
                least_score: f32::NEG_INFINITY,
                effort: Effort::Exact,
            };
            let found = search.best(&[1.0, 0.0, 0.0], wanted).expect("whole");
            let ids: Vec<String> = found.iter().map(|found| search.scored(found).id).collect();
            let oldest: Vec<String> = (0..documents).map(|nth| nth.to_string()).collect();
            assert_eq!(ids, oldest);
        }
    }
}
