//! What a segment promises, tried from outside: what goes in comes out, searches are exact or nearly so, filters mean what
//! their documentation says, and damage is always told.

mod damage;
mod deep;
mod filters;
mod golden;
mod merging;
mod metrics;
mod roundtrip;
mod searching;

use std::path::Path;

use super::*;
use crate::document::{EmbeddedPassage, InputHash};
use crate::document::{Fields, Value};
pub(super) use crate::random::Random;
use crate::vector::Vector;

/// Which rows a search may return, in numbers of rows.
#[derive(Clone, Copy)]
pub(crate) enum Pick<'a> {
    All,
    Only(&'a RoaringBitmap),
    Except(&'a RoaringBitmap),
}

impl Segment {
    /// Calls `search` with the selection that a pick means.
    pub fn picked<T>(
        &self,
        pick: Pick<'_>,
        search: impl FnOnce(Selection<'_>) -> Result<T>,
    ) -> Result<T> {
        match pick {
            Pick::All => search(Selection::ALL),
            Pick::Only(rows) => search(Selection {
                only: Some(&self.slots_of(rows)?),
                except: None,
            }),
            Pick::Except(rows) => search(Selection::except(&self.slots_of(rows)?)),
        }
    }

    /// The best `k` picked rows, with the effort that is usual.
    pub fn best(&self, query: &[f32], k: usize, pick: Pick<'_>) -> Result<Vec<RowHit>> {
        let nearest = Nearest {
            vector: query,
            k,
            effort: Effort::Recall(0.95),
            least_score: f32::NEG_INFINITY,
        };
        self.picked(pick, |selection| self.search(&nearest, selection))
    }
}

impl Random {
    /// Roughly normal, mean 0.
    pub fn component(&mut self) -> f32 {
        let uniform = |bits: u64| (bits >> 40) as f32 / (1u64 << 24) as f32;
        (0..4).map(|_| uniform(self.next())).sum::<f32>() - 2.0
    }

    pub fn unit(&mut self, dimension: usize) -> Vector {
        self.near(&vec![0.0; dimension], 1.0)
    }

    /// A unit vector around `centre`.
    pub fn near(&mut self, centre: &[f32], spread: f32) -> Vector {
        let values: Vec<f32> = centre
            .iter()
            .map(|x| x + spread * self.component())
            .collect();
        Vector::new(values)
            .and_then(Vector::to_unit)
            .expect("not all components are zero")
    }
}

pub(super) fn spec(dimension: usize) -> SegmentSpec {
    SegmentSpec {
        fingerprint: "test-encoder".into(),
        dimension,
        metric: Metric::Cosine,
    }
}

/// The documents with vectors so many times as long, of the same products: wide enough, they get int4 codes.
pub(super) fn widened(mut documents: Vec<EmbeddedDocument>, times: usize) -> Vec<EmbeddedDocument> {
    let passages = documents
        .iter_mut()
        .flat_map(|document| &mut document.passages);
    for EmbeddedPassage { vector, .. } in passages {
        let repeated = vector.as_slice().repeat(times);
        *vector = Vector::new(repeated)
            .and_then(Vector::to_unit)
            .expect("finite, not zero");
    }
    documents
}

/// The documents with inputs for two of three passages, of which some, if asked for, are equal and have equal vectors.
pub(super) fn with_inputs(
    mut documents: Vec<EmbeddedDocument>,
    equal: bool,
) -> Vec<EmbeddedDocument> {
    let mut random = Random(31);
    let mut before: Option<(Option<InputHash>, Vector)> = None;
    let passages = documents
        .iter_mut()
        .flat_map(|document| &mut document.passages);
    for (nth, passage) in passages.enumerate() {
        if nth % 3 == 2 {
            continue;
        }
        let input = u128::from(random.next()) << 64 | u128::from(random.next());
        passage.input = InputHash::new(input);
        if equal
            && nth % 9 == 4
            && let Some((input, vector)) = before
        {
            (passage.input, passage.vector) = (input, vector);
        }
        before = Some((passage.input, passage.vector.clone()));
    }
    documents
}

/// One passage, the whole text.
pub(super) fn document(id: impl Into<String>, text: &str, vector: Vector) -> EmbeddedDocument {
    let passages = vec![EmbeddedPassage::new(0..text.len(), vector)];
    EmbeddedDocument {
        id: id.into(),
        text: text.into(),
        attributes: Attributes::default(),
        content_hash: 7,
        passages,
    }
}

pub(super) fn bytes_of(
    dimension: usize,
    documents: &[EmbeddedDocument],
    graph_from_rows: usize,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    build(
        &spec(dimension),
        documents,
        &BuildOptions {
            graph_from_rows,
            seed: 1,
            ..BuildOptions::default()
        },
        &mut bytes,
    )
    .expect("the documents are whole");
    bytes
}

pub(super) fn open(bytes: Vec<u8>) -> Result<Segment> {
    Segment::from_bytes(bytes, Path::new("test.seg"))
}

pub(super) fn segment(
    dimension: usize,
    documents: &[EmbeddedDocument],
    graph_from_rows: usize,
) -> Segment {
    open(bytes_of(dimension, documents, graph_from_rows)).expect("it was just built")
}

/// A few documents of every shape, with and without fields, 8 dimensions.
pub(super) fn mixed_documents(random: &mut Random) -> Vec<EmbeddedDocument> {
    let texts = [
        "Sled is an embedded store.",
        "Größe und Maß: 😀 überall",
        "short",
        &"many words ".repeat(400),
    ];
    let mut documents = Vec::new();
    for nth in 0..12 {
        let text = texts[nth % texts.len()];
        let mut document = document(format!("id-{:02}-ü", (nth * 5) % 12), text, random.unit(8));
        document.content_hash = u128::MAX - nth as u128;
        let cuts: Vec<usize> = (0..=text.len())
            .filter(|&at| text.is_char_boundary(at))
            .collect();
        let mut start = 0;
        for passage in 1..nth % 5 {
            start = cuts[cuts
                .partition_point(|&cut| cut < start + passage * 3)
                .min(cuts.len() - 1)];
            let end = cuts[cuts
                .partition_point(|&cut| cut < start + 9)
                .min(cuts.len() - 1)];
            document
                .passages
                .push(EmbeddedPassage::new(start..end, random.unit(8)));
        }
        if nth % 3 == 0 {
            // A window that holds the title alone comes first.
            document
                .passages
                .insert(0, EmbeddedPassage::new(0..0, random.unit(8)));
        }
        if nth % 2 == 0 {
            document.attributes = Attributes {
                outline: Default::default(),
                title: Some(format!("title {nth}")),
                source: Some("notes/a.txt".into()),
                fields: Fields::from([
                    ("lang".into(), Value::from(["en", "de"][nth % 4 / 2])),
                    ("year".into(), Value::from(2000 + nth as i64)),
                    ("tags".into(), Value::from(vec!["a", "b", "a"])),
                ]),
            };
        }
        documents.push(document);
    }
    documents
}
