//! A collection's state at one moment: parts that are searched one by one.
//!
//! A part is a sealed segment, or documents in memory that are not yet sealed. Both answer through a [`Segment`], so there
//! is one search path; the one of documents in memory is built when it is first asked.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use roaring::RoaringBitmap;

use crate::document::{Document, EmbeddedDocument, EmbeddedPassage, InputHash};
use crate::error::Result;
use crate::segment::{self, BuildOptions, Segment, SegmentSpec, SlotSet};
use crate::store::{CollectionRecord, SegmentRecord};
use crate::vector::Vector;

/// What tells a document and all that it holds from others.
pub(super) trait Content {
    fn id(&self) -> &str;
    fn content_hash(&self) -> u128;
}

impl Content for EmbeddedDocument {
    fn id(&self) -> &str {
        &self.id
    }

    fn content_hash(&self) -> u128 {
        self.content_hash
    }
}

/// A collection as one reader sees it. Never changed: writers publish a new one.
#[derive(Clone)]
pub(super) struct Snapshot {
    /// As committed; its segments are those of the sealed parts.
    pub record: CollectionRecord,
    /// Sealed parts first, by age; then those in memory, by age.
    pub parts: Vec<Part>,
    /// Raised whenever documents are added or deleted since the database was opened.
    pub changes: u64,
}

/// Rows that are searched together, less the deleted ones.
#[derive(Clone)]
pub(super) struct Part {
    pub body: Body,
    /// Rows of deleted or replaced documents.
    pub dead: Arc<RoaringBitmap>,
    /// The same as a search takes them; made when it is first asked for.
    dead_slots: Arc<OnceLock<SlotSet>>,
    pub dead_documents: u32,
}

#[derive(Clone)]
pub(super) enum Body {
    Sealed {
        segment: Arc<Segment>,
        record: SegmentRecord,
        /// What its tombstone file tells: those of [`Part::dead`] that are sealed.
        buried: Arc<RoaringBitmap>,
    },
    Memory(Arc<Memory>),
}

/// Acknowledged documents that are not yet in a file.
pub(super) struct Memory {
    spec: SegmentSpec,
    documents: Vec<Arc<EmbeddedDocument>>,
    /// Row of each document's first passage, and the number of rows at the end.
    first_rows: Vec<u32>,
    by_id: HashMap<String, u32>,
    /// Document and passage by what the encoder was given; made when it is first asked for.
    by_input: OnceLock<HashMap<InputHash, (u32, u32)>>,
    built: Mutex<Option<Arc<Segment>>>,
}

impl Snapshot {
    /// As it is on disk.
    pub fn new(record: CollectionRecord, parts: Vec<Part>) -> Self {
        Self {
            record,
            parts,
            changes: 0,
        }
    }

    /// Lets go of all that it holds.
    pub fn empty(&mut self) {
        self.parts.clear();
        self.record.segments.clear();
        self.changes += 1;
    }

    /// What a segment of this collection has to match; `None` while nothing was added.
    pub fn spec(&self) -> Option<SegmentSpec> {
        Self::spec_of(&self.record)
    }

    pub fn spec_of(record: &CollectionRecord) -> Option<SegmentSpec> {
        let fingerprint = record
            .encoder
            .as_ref()
            .map_or_else(String::new, |e| e.fingerprint.clone());
        Some(SegmentSpec {
            fingerprint,
            dimension: record.dimension?,
            metric: record.metric,
        })
    }

    /// The live document with this id: part and ordinal.
    pub fn find(&self, id: &str) -> Option<(usize, u32)> {
        // Newest first: what was added last is asked for most.
        (0..self.parts.len())
            .rev()
            .find_map(|at| Some((at, self.parts[at].find(id)?)))
    }

    /// Is the document there, equal in everything?
    pub fn holds(&self, document: &impl Content) -> bool {
        let found = self.find(document.id());
        found.is_some_and(|(part, at)| self.parts[part].content_hash(at) == document.content_hash())
    }

    /// The vector that the encoder made from this input, if it is still there, be its document live or not.
    pub fn made_from(&self, input: InputHash) -> Result<Option<Vector>> {
        for part in self.parts.iter().rev() {
            let found = match &part.body {
                Body::Sealed { segment, .. } => {
                    segment.made_from(input)?.map(Vector::new).transpose()?
                }
                Body::Memory(memory) => memory.made_from(input).cloned(),
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    pub fn sealed_parts(&self) -> usize {
        self.parts
            .iter()
            .filter(|p| matches!(p.body, Body::Sealed { .. }))
            .count()
    }

    /// The records of the sealed parts.
    pub fn records(&self) -> Vec<SegmentRecord> {
        let record = |part: &Part| match &part.body {
            Body::Sealed { record, .. } => Some(record.clone()),
            Body::Memory(_) => None,
        };
        self.parts.iter().filter_map(record).collect()
    }

    pub fn live_documents(&self) -> u64 {
        self.parts
            .iter()
            .map(|p| u64::from(p.live_documents()))
            .sum()
    }

    /// Rows in memory, dead ones too.
    pub fn unsealed_rows(&self) -> u64 {
        self.parts[self.sealed_parts()..]
            .iter()
            .map(|p| u64::from(p.rows()))
            .sum()
    }

    /// Adds documents in memory. Each part has at least twice as many as the next one, so there are never more than
    /// log2(documents) parts.
    pub fn push(&mut self, spec: &SegmentSpec, documents: Vec<Arc<EmbeddedDocument>>) {
        let sealed = self.sealed_parts();
        let mut documents = documents;
        while self.parts.len() > sealed {
            let Some(Part {
                body: Body::Memory(memory),
                ..
            }) = self.parts.last()
            else {
                break;
            };
            if memory.documents.len() >= 2 * documents.len() {
                break;
            }
            let part = self.parts.pop().expect("it was just seen");
            documents.splice(0..0, part.live_memory());
        }
        if !documents.is_empty() {
            self.parts.push(Part::memory(spec.clone(), documents));
        }
    }
}

impl Part {
    /// A segment as it is committed.
    pub fn sealed(segment: Arc<Segment>, record: SegmentRecord, buried: RoaringBitmap) -> Self {
        let (dead_documents, buried) = (record.dead_documents, Arc::new(buried));
        Self {
            dead: Arc::clone(&buried),
            body: Body::Sealed {
                segment,
                record,
                buried,
            },
            dead_slots: Arc::default(),
            dead_documents,
        }
    }

    /// The segment's name; `None` for documents in memory.
    pub fn name(&self) -> Option<&str> {
        match &self.body {
            Body::Sealed { record, .. } => Some(&record.name),
            Body::Memory(_) => None,
        }
    }

    fn memory(spec: SegmentSpec, documents: Vec<Arc<EmbeddedDocument>>) -> Self {
        let mut first_rows = vec![0];
        let mut rows = 0;
        for document in &documents {
            rows +=
                u32::try_from(document.passages.len()).expect("a seal comes long before 2^32 rows");
            first_rows.push(rows);
        }
        let by_id = documents
            .iter()
            .zip(0..)
            .map(|(document, at)| (document.id.clone(), at))
            .collect();
        let memory = Memory {
            spec,
            documents,
            first_rows,
            by_id,
            by_input: OnceLock::new(),
            built: Mutex::new(None),
        };
        Self {
            body: Body::Memory(Arc::new(memory)),
            dead: Arc::default(),
            dead_slots: Arc::default(),
            dead_documents: 0,
        }
    }

    /// The segment that answers for this part.
    pub fn segment(&self) -> Result<Arc<Segment>> {
        match &self.body {
            Body::Sealed { segment, .. } => Ok(Arc::clone(segment)),
            Body::Memory(memory) => memory.segment(),
        }
    }

    /// The live document with this id.
    pub fn find(&self, id: &str) -> Option<u32> {
        let document = match &self.body {
            Body::Sealed { segment, .. } => segment.find(id)?,
            Body::Memory(memory) => *memory.by_id.get(id)?,
        };
        (!self.is_dead(document)).then_some(document)
    }

    /// The id of a document, dead or alive.
    pub fn id(&self, document: u32) -> &str {
        match &self.body {
            Body::Sealed { segment, .. } => segment.document_id(document),
            Body::Memory(memory) => &memory.documents[document as usize].id,
        }
    }

    pub fn is_dead(&self, document: u32) -> bool {
        self.dead.contains(self.rows_of(document).start)
    }

    fn rows_of(&self, document: u32) -> std::ops::Range<u32> {
        match &self.body {
            Body::Sealed { segment, .. } => segment.rows_of(document),
            Body::Memory(memory) => {
                let at = document as usize;
                memory.first_rows[at]..memory.first_rows[at + 1]
            }
        }
    }

    /// Marks a live document deleted.
    pub fn bury(&mut self, document: u32) {
        let rows = self.rows_of(document);
        Arc::make_mut(&mut self.dead).insert_range(rows);
        self.dead_slots = Arc::default();
        self.dead_documents += 1;
    }

    /// Has it deletions that its tombstone file does not tell?
    pub fn has_new_dead(&self) -> bool {
        match &self.body {
            Body::Sealed { record, .. } => record.dead_documents != self.dead_documents,
            Body::Memory(_) => false,
        }
    }

    pub fn rows(&self) -> u32 {
        match &self.body {
            Body::Sealed { segment, .. } => segment.rows(),
            Body::Memory(memory) => *memory.first_rows.last().expect("it starts with a zero"),
        }
    }

    pub fn documents(&self) -> u32 {
        match &self.body {
            Body::Sealed { segment, .. } => segment.documents(),
            Body::Memory(memory) => memory.documents.len() as u32,
        }
    }

    pub fn live_documents(&self) -> u32 {
        self.documents() - self.dead_documents
    }

    pub fn content_hash(&self, document: u32) -> u128 {
        match &self.body {
            Body::Sealed { segment, .. } => segment.content_hash(document),
            Body::Memory(memory) => memory.documents[document as usize].content_hash,
        }
    }

    /// Replaces the dead rows; the caller sets how many documents they are.
    pub fn set_dead(&mut self, rows: RoaringBitmap) {
        self.dead = Arc::new(rows);
        self.dead_slots = Arc::default();
    }

    /// Where the dead rows are in its segment.
    pub fn dead_slots(&self, segment: &Segment) -> Result<&SlotSet> {
        if let Some(slots) = self.dead_slots.get() {
            return Ok(slots);
        }
        let slots = segment.slots_of(&self.dead)?;
        Ok(self.dead_slots.get_or_init(|| slots))
    }

    /// The live documents of a part in memory, by age; none of a sealed one.
    pub fn live_memory(&self) -> Vec<Arc<EmbeddedDocument>> {
        let Body::Memory(memory) = &self.body else {
            return Vec::new();
        };
        let live = memory
            .documents
            .iter()
            .zip(0..)
            .filter(|&(_, at)| !self.is_dead(at));
        live.map(|(document, _)| Arc::clone(document)).collect()
    }

    /// The document with its passages and their vectors, as it is stored.
    pub fn embedded(&self, document: u32) -> Result<Arc<EmbeddedDocument>> {
        let segment = match &self.body {
            Body::Memory(memory) => return Ok(Arc::clone(&memory.documents[document as usize])),
            Body::Sealed { segment, .. } => segment,
        };
        let passage = |row| {
            Ok(EmbeddedPassage::new(
                segment.range(row),
                Vector::new(segment.vector(row)?)?,
            ))
        };
        Ok(Arc::new(EmbeddedDocument {
            id: segment.document_id(document).to_owned(),
            text: segment.text(document)?,
            attributes: segment.attributes(document)?,
            content_hash: segment.content_hash(document),
            passages: segment
                .rows_of(document)
                .map(passage)
                .collect::<Result<_>>()?,
        }))
    }

    /// The document as it was added.
    pub fn document(&self, document: u32) -> Result<Document> {
        let (id, text, attributes) = match &self.body {
            Body::Sealed { segment, .. } => (
                segment.document_id(document).to_owned(),
                segment.text(document)?,
                segment.attributes(document)?,
            ),
            Body::Memory(memory) => {
                let document = &memory.documents[document as usize];
                (
                    document.id.clone(),
                    document.text.clone(),
                    document.attributes.clone(),
                )
            }
        };
        Ok(Document {
            id,
            text,
            title: attributes.title,
            fields: attributes.fields,
            source: attributes.source,
            outline: attributes.outline,
        })
    }
}

impl Memory {
    fn made_from(&self, input: InputHash) -> Option<&Vector> {
        let by_input = self.by_input.get_or_init(|| {
            let documents = (0..).zip(&self.documents);
            let passages = documents.flat_map(|(at, document)| {
                let passages = (0..).zip(&document.passages);
                passages.filter_map(move |(nth, passage)| Some((passage.input?, (at, nth))))
            });
            passages.collect()
        });
        let &(document, nth) = by_input.get(&input)?;
        Some(&self.documents[document as usize].passages[nth as usize].vector)
    }

    /// Without a graph, however many rows there are: building one takes long, and on other threads, which must not be
    /// waited for under a lock.
    fn segment(&self) -> Result<Arc<Segment>> {
        // A builder that panicked left `None` there, which the next one may fill.
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = &*built {
            return Ok(Arc::clone(segment));
        }
        let mut bytes = Vec::new();
        segment::build(
            &self.spec,
            &self.documents,
            &BuildOptions {
                graph_from_rows: usize::MAX,
                ..BuildOptions::default()
            },
            &mut bytes,
        )?;
        let segment = Arc::new(Segment::from_bytes(bytes, Path::new("unsealed rows"))?);
        *built = Some(Arc::clone(&segment));
        Ok(segment)
    }
}
