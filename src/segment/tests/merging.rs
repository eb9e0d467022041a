//! Merging: what comes out is what a build of the live documents gives, byte for byte.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::segment::source::Source;

/// A segment and its dead rows.
type Live = (Arc<Segment>, Arc<RoaringBitmap>);

/// Three segments of mixed documents with ids of their own, some of them dead; and the live documents in their order.
fn sources() -> (Vec<Live>, Vec<EmbeddedDocument>) {
    let mut random = Random(11);
    let (mut sources, mut live) = (Vec::new(), Vec::new());
    for nth in 0..3 {
        let mut documents = with_inputs(mixed_documents(&mut random), true);
        for document in &mut documents {
            document.id = format!("{}-{nth}", document.id);
        }
        let segment = segment(8, &documents, usize::MAX);
        let mut dead = RoaringBitmap::new();
        for (document, at) in documents.into_iter().zip(0..) {
            if random.below(3) == 0 {
                dead.insert_range(segment.rows_of(at));
            } else {
                live.push(document);
            }
        }
        sources.push((Arc::new(segment), Arc::new(dead)));
    }
    (sources, live)
}

fn flat(scratch: Option<Scratch>) -> BuildOptions {
    BuildOptions {
        graph_from_rows: usize::MAX,
        seed: 1,
        scratch,
        ..BuildOptions::default()
    }
}

#[test]
fn a_merged_segment_has_the_bytes_of_a_fresh_one_in_memory_and_through_files() {
    let (sources, live) = sources();
    assert!((5..30).contains(&live.len()));
    let expected = bytes_of(8, &live, usize::MAX);
    let merge = Merge::new(sources.clone()).expect("few rows");
    let files = Arc::new(AtomicUsize::new(0));
    let made = Arc::clone(&files);
    let scratch = Scratch::new(move || {
        made.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(tempfile::tempfile()?))
    });
    for scratch in [None, Some(scratch)] {
        let mut bytes = Vec::new();
        merge
            .write(&spec(8), &flat(scratch.clone()), &|| false, &mut bytes)
            .expect("merges");
        assert!(bytes == expected, "scratch {scratch:?}");
    }
    assert!(files.load(Ordering::Relaxed) > 0, "files were used");
}

#[test]
fn each_live_row_knows_where_it_went() {
    let (sources, live) = sources();
    let merge = Merge::new(sources.clone()).expect("few rows");
    let mut bytes = Vec::new();
    merge
        .write(&spec(8), &flat(None), &|| false, &mut bytes)
        .expect("merges");
    let merged = open(bytes).expect("whole");
    let mut next = 0;
    for (at, (segment, dead)) in sources.iter().enumerate() {
        let first = next;
        for row in 0..segment.rows() {
            let moved: Vec<u32> = merge.moved(at, [row]).collect();
            if dead.contains(row) {
                assert!(moved.is_empty());
                continue;
            }
            assert_eq!(moved, [next]);
            assert_eq!(
                merged.vector(next).expect("whole"),
                segment.vector(row).expect("whole")
            );
            next += 1;
        }
        assert_eq!(merge.rows_from(at), first..next);
    }
    assert_eq!(merge.rows(), next);
    let all = RoaringBitmap::from_iter(0..next);
    assert_eq!(merge.count_documents(&all) as usize, live.len());
}

#[test]
fn the_memory_that_is_allowed_limits_the_rows() {
    let options = BuildOptions::for_merging();
    let rows = |mib: u64| rows_within(mib << 20, 384, &options);
    let gib = rows(1 << 10);
    assert!((700_000..1_000_000).contains(&gib), "{gib}");
    assert_eq!(rows(4), 3_999, "no graph");
    assert!((1_500..2_500).contains(&rows(1)), "{}", rows(1));
    assert_eq!(rows(0), 0);
}

#[test]
fn a_merge_of_graphs_finds_every_row_whether_it_goes_on_from_one_or_not() {
    let mut random = Random(12);
    let mut documents: Vec<EmbeddedDocument> = (0..600)
        .map(|at| document(format!("{at:04}"), "", random.unit(16)))
        .collect();
    // Rows with equal codes: nodes die and leave their twins.
    for at in (0..400).step_by(5) {
        documents[at + 4].passages = documents[at].passages.clone();
    }
    let parts = [&documents[..400], &documents[400..]];
    for (dead, goes_on) in [(0, true), (2, true), (3, false)] {
        let is_dead = |at: usize| at % 5 < dead;
        let source = |part: &[EmbeddedDocument]| {
            let buried = (0..part.len()).filter(|&at| is_dead(at));
            let buried = RoaringBitmap::from_iter(buried.map(|at| at as u32));
            (Arc::new(segment(16, part, 100)), Arc::new(buried))
        };
        let merge = Merge::new(parts.map(source).to_vec()).expect("few rows");
        let older = merge.older_graph().expect("whole");
        assert_eq!(older.is_some(), goes_on, "{dead} of five dead");
        let options = BuildOptions {
            graph_from_rows: 100,
            ..BuildOptions::default()
        };
        let mut bytes = Vec::new();
        merge
            .write(&spec(16), &options, &|| false, &mut bytes)
            .expect("merges");
        let merged = open(bytes).expect("whole");
        assert!(merged.has_graph());
        let live = parts.iter().flat_map(|part| {
            let live = part.iter().enumerate().filter(|&(at, _)| !is_dead(at));
            live.map(|(_, document)| document)
        });
        for (document, row) in live.zip(0..) {
            let query = document.passages[0].vector.as_slice();
            let best = merged.best(query, 2, Pick::All).expect("a search");
            assert!(best.iter().any(|hit| hit.row == row), "row {row}");
        }
    }
}

#[test]
fn a_merge_stops_whenever_it_is_asked_to() {
    let (sources, _) = sources();
    let merge = Merge::new(sources).expect("few rows");
    let asked = AtomicUsize::new(0);
    let mut run = |stop_at: usize| {
        asked.store(0, Ordering::Relaxed);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) >= stop_at;
        merge.write(&spec(8), &flat(None), &stop, &mut Vec::new())
    };
    run(usize::MAX).expect("nobody stops it");
    let times = asked.load(Ordering::Relaxed);
    assert!(times > 100, "it asks at every row: {times}");
    let run = &mut run;
    for stop_at in 0..times {
        assert!(matches!(run(stop_at), Err(Error::Cancelled)), "{stop_at}");
    }
}

#[test]
fn damage_in_a_source_is_told_and_not_copied() {
    let mut random = Random(13);
    let documents = mixed_documents(&mut random);
    let whole = bytes_of(8, &documents, usize::MAX);
    let segment = open(whole.clone()).expect("whole");
    let mut bytes = whole.clone();
    let range = segment.sections.range(Kind::Vectors);
    bytes[(range.start + range.end) / 2] ^= 1;
    let damaged = open(bytes).expect("the rows are verified when they are read");
    let merge = Merge::new(vec![(Arc::new(damaged), Arc::default())]).expect("few rows");
    let merged = merge.write(&spec(8), &flat(None), &|| false, &mut Vec::new());
    assert!(matches!(merged, Err(Error::Damaged { .. })), "{merged:?}");
}

#[test]
fn a_document_that_lives_in_two_sources_is_refused() {
    let documents = [document("a", "", Random(14).unit(8))];
    let source = || (Arc::new(segment(8, &documents, usize::MAX)), Arc::default());
    let merge = Merge::new(vec![source(), source()]).expect("few rows");
    let merged = merge.write(&spec(8), &flat(None), &|| false, &mut Vec::new());
    assert!(matches!(merged, Err(Error::DuplicateId { id }) if id == "a"));
}
