//! Documents with their vectors → the bytes of one segment.

use std::borrow::Borrow;
use std::io::{self, Write};
use std::path::PathBuf;

use super::format::{Header, Kind};
use super::graph::Frozen;
use super::quantise::Quantiser;
use super::vectors::Codes;
use super::writer::SegmentWriter;
use super::{BuildOptions, EmbeddedDocument, SegmentSpec, documents as tables, text};
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
    let documents = documents.as_slice();
    tables::check(documents)?;
    let rows = rows_of(spec, documents)?;
    let (quantiser, codes) = Quantiser::fit(&rows, spec.dimension);
    let graph = if rows.len() >= options.graph_from_rows.max(1) {
        let codes = Codes::new(&codes, spec.dimension);
        Frozen::new(
            codes,
            spec.metric,
            options.builder.get(),
            None,
            options.seed,
            &|| false,
        )
    } else {
        None
    };
    let text = text::write(documents)?;
    let header = Header {
        metric: metric_code(spec.metric),
        dimension: spec.dimension as u32,
        rows: rows.len() as u32,
        documents: documents.len() as u32,
    };
    let mut write = || {
        let mut out = SegmentWriter::new(out, header)?;
        out.section(Kind::Fingerprint, |out| {
            out.write_all(spec.fingerprint.as_bytes())
        })?;
        out.section(Kind::Quantiser, |out| quantiser.write(out))?;
        out.section(Kind::Documents, |out| tables::write_entries(documents, out))?;
        out.section(Kind::Ids, |out| tables::write_ids(documents, out))?;
        out.section(Kind::IdOrder, |out| tables::write_id_order(documents, out))?;
        out.section(Kind::RowRanges, |out| tables::write_ranges(documents, out))?;
        out.section(Kind::RowDocuments, |out| {
            tables::write_row_documents(documents, out)
        })?;
        write_graph(graph.as_ref(), &mut out)?;
        out.section(Kind::Codes, |out| {
            write_chunked(&codes, |&code| [code as u8], out)
        })?;
        out.section(Kind::Vectors, |out| {
            rows.iter()
                .try_for_each(|row| write_chunked(row, |x| x.to_le_bytes(), out))
        })?;
        text.write(&mut out)?;
        out.finish()
    };
    write().map(drop).map_err(|source| Error::Io {
        action: "write",
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

fn rows_of<'a>(spec: &SegmentSpec, documents: &[&'a EmbeddedDocument]) -> Result<Vec<&'a [f32]>> {
    let rows: Vec<&[f32]> = documents
        .iter()
        .flat_map(|document| &document.passages)
        .map(|passage| passage.vector.as_slice())
        .collect();
    if let Some(row) = rows.iter().find(|row| row.len() != spec.dimension) {
        return Err(Error::Dimension {
            expected: spec.dimension,
            given: row.len(),
        });
    }
    Ok(rows)
}

fn write_graph(graph: Option<&Frozen>, out: &mut SegmentWriter<'_>) -> io::Result<()> {
    let u32s = |kind, ids: &[u32], out: &mut SegmentWriter<'_>| {
        out.section(kind, |out| write_chunked(ids, |id| id.to_le_bytes(), out))
    };
    u32s(Kind::Seeds, graph.map_or(&[], |graph| &graph.seeds), out)?;
    // Every node of a new graph can be reached from its seeds.
    u32s(Kind::Orphans, &[], out)?;
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
