//! Documents with their vectors → the bytes of one segment.

use std::borrow::Borrow;
use std::io::{self, Write};
use std::path::PathBuf;

use super::format::{Header, Kind, VERSION};
use super::graph::Frozen;
use super::int4::Int4Codes;
use super::quantise::Quantiser;
use super::source::{InMemory, Source, Stop};
use super::vectors::Codes;
use super::walked::Walked;
use super::writer::SegmentWriter;
use super::{BuildOptions, EmbeddedDocument, SegmentSpec, documents as tables, inputs, text};
use crate::error::{Error, Result};
use crate::vector::Metric;

/// Writes one segment. Rows stand in the order of `documents`, each document's passages together.
///
/// The same input and seed give the same bytes when no graph is built; a graph is built on many threads, whose timing shows
/// in its links.
///
/// # Errors
/// [`Error::Document`] or [`Error::DuplicateId`] if a document is not as [`EmbeddedDocument`] says; [`Error::Dimension`];
/// [`Error::Io`] if `out` fails.
pub(crate) fn build(
    spec: &SegmentSpec,
    documents: &[impl Borrow<EmbeddedDocument>],
    options: &BuildOptions,
    out: &mut dyn Write,
) -> Result<()> {
    let documents: Vec<&EmbeddedDocument> = documents.iter().map(Borrow::borrow).collect();
    let source = InMemory::new(spec, &documents)?;
    write(spec, &source, options, &|| false, out)
}

/// Writes the segment of a source. In memory it takes the codes, the graph while it is built, and the fields' columns;
/// vectors and texts pass through one by one.
///
/// # Errors
/// [`Error::DuplicateId`]; [`Error::Cancelled`] if `stop` said so; [`Error::Io`] if `out` fails; and what the source says.
pub(super) fn write(
    spec: &SegmentSpec,
    source: &dyn Source,
    options: &BuildOptions,
    stop: Stop<'_>,
    out: &mut dyn Write,
) -> Result<()> {
    let go_on = || {
        if stop() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    };
    let vector = |row| go_on().and_then(|()| source.vector(row));
    let id_order = tables::id_order(source, stop)?;
    let (quantiser, codes) = Quantiser::fit(source.rows(), spec.dimension, vector)?;
    go_on()?;
    let codes = Codes::new(&codes, spec.dimension);
    let walked = (source.rows() as usize >= options.graph_from_rows.max(1))
        .then(|| Walked::new(spec, source, codes, &quantiser, options, stop))
        .transpose()?;
    let walked = walked.as_ref();
    let order = walked.map(|walked| walked.order.as_slice());
    let row = |slot: u32| order.map_or(slot, |order| order[slot as usize]);
    let int4 = walked.and_then(|walked| walked.int4.as_ref());
    let inputs = inputs::hashes(source)?;
    go_on()?;
    let text = text::write(source, options.scratch.as_ref(), stop)?;
    let header = Header {
        version: VERSION,
        metric: metric_code(spec.metric),
        dimension: spec.dimension as u32,
        rows: source.rows(),
        documents: source.documents(),
    };
    let mut write = || {
        let mut out = SegmentWriter::new(out, header)?;
        out.section(Kind::Fingerprint, |out| {
            out.write_all(spec.fingerprint.as_bytes())
        })?;
        out.section(Kind::Quantiser, |out| quantiser.write(out))?;
        out.section(Kind::Documents, |out| tables::write_entries(source, out))?;
        out.section(Kind::Ids, |out| tables::write_ids(source, out))?;
        out.section(Kind::IdOrder, |out| {
            write_chunked(&id_order, |at| at.to_le_bytes(), out)
        })?;
        out.section(Kind::RowRanges, |out| tables::write_ranges(source, out))?;
        out.section(Kind::RowDocuments, |out| {
            tables::write_row_documents(source, out)
        })?;
        write_graph(walked.map(|walked| &walked.graph), &mut out)?;
        out.section(Kind::Codes, |out| {
            (0..source.rows())
                .try_for_each(|slot| write_chunked(codes.row(row(slot)), |&code| [code as u8], out))
        })?;
        out.section(Kind::Vectors, |out| {
            (0..source.rows()).try_for_each(|slot| {
                let vector = vector(row(slot)).map_err(io::Error::other)?;
                write_chunked(vector, |x| x.to_le_bytes(), out)
            })
        })?;
        out.section(Kind::Order, |out| {
            write_chunked(order.unwrap_or_default(), |row| row.to_le_bytes(), out)
        })?;
        out.section(Kind::Calibration, |out| {
            walked.map_or(Ok(()), |walked| walked.calibration.write(out))
        })?;
        out.section(Kind::Int4Quantiser, |out| {
            int4.map_or(Ok(()), |int4| int4.recoded.write(out))
        })?;
        out.section(Kind::Int4Codes, |out| {
            int4.map_or(Ok(()), |int4| {
                let codes = Int4Codes::new(&int4.codes, spec.dimension);
                (0..source.rows()).try_for_each(|slot| out.write_all(codes.row(row(slot))))
            })
        })?;
        out.section(Kind::InputHashes, |out| {
            write_chunked(&inputs, |hash| hash.to_le_bytes(), out)
        })?;
        out.section(Kind::InputOrder, |out| {
            write_chunked(&inputs::order(&inputs), |row| row.to_le_bytes(), out)
        })?;
        text.write(&mut out)?;
        out.finish()
    };
    write().map(drop).map_err(|source| told("write", source))
}

/// The error of a step that may have carried one of ours through `std::io`.
pub(super) fn told(action: &'static str, source: io::Error) -> Error {
    source
        .downcast::<Error>()
        .unwrap_or_else(|source| Error::Io {
            action,
            path: PathBuf::from("the new segment"),
            source,
        })
}

/// The code of a metric in the header.
fn metric_code(metric: Metric) -> u32 {
    match metric {
        Metric::Cosine => 1,
        Metric::Dot => 2,
        Metric::L2 => 3,
    }
}

/// The metric with this code.
pub(super) fn metric_of(code: u32) -> Option<Metric> {
    [Metric::Cosine, Metric::Dot, Metric::L2]
        .into_iter()
        .find(|&metric| metric_code(metric) == code)
}

fn write_graph(graph: Option<&Frozen>, out: &mut SegmentWriter<'_>) -> io::Result<()> {
    let u32s = |kind, ids: &[u32], out: &mut SegmentWriter<'_>| {
        out.section(kind, |out| write_chunked(ids, |id| id.to_le_bytes(), out))
    };
    u32s(Kind::Seeds, graph.map_or(&[], |graph| &graph.seeds), out)?;
    u32s(
        Kind::Orphans,
        graph.map_or(&[], |graph| &graph.orphans),
        out,
    )?;
    u32s(
        Kind::Twins,
        graph.map_or(&[], |graph| graph.twins.as_flattened()),
        out,
    )?;
    u32s(
        Kind::Neighbours,
        graph.map_or(&[], |graph| &graph.neighbours),
        out,
    )
}

/// Writes items as bytes, a few KiB at a time.
fn write_chunked<T, const N: usize>(
    items: &[T],
    bytes: impl Fn(&T) -> [u8; N],
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(4096 * N);
    for chunk in items.chunks(4096) {
        buffer.clear();
        buffer.extend(chunk.iter().flat_map(&bytes));
        out.write_all(&buffer)?;
    }
    Ok(())
}
