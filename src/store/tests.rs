//! Faults: every file operation of a commit fails once, and the state afterwards is the old one or the new one.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use super::catalog::WalEntry;
use super::commit::{Commit, Store};
use super::dir::{Disk, SystemDir};
use super::faults::{Fault, FaultyDir};
use super::manifest::{CollectionRecord, Manifest, SegmentRecord};
use super::rebuild::write_catalog;
use super::recover::Opened;
use crate::document::{Attributes, EmbeddedDocument, EmbeddedPassage};
use crate::error::{Error, Result};
use crate::vector::{Metric, Vector};

fn open(root: &Path) -> Result<Opened> {
    Opened::open(root, &Disk::default())
}

pub(super) fn entry(id: &str, text: &str) -> WalEntry {
    let vector = Vector::new(vec![1.0, 0.0]).expect("finite");
    let passages = vec![EmbeddedPassage {
        range: 0..text.len(),
        vector,
    }];
    let attributes = Attributes::default();
    let document = EmbeddedDocument {
        id: id.into(),
        text: text.into(),
        attributes,
        content_hash: 1,
        passages,
    };
    WalEntry::Add {
        collection: 0,
        documents: vec![Arc::new(document)],
    }
}

/// A collection with one segment whose file says "segment".
pub(super) fn seal(store: &mut Store) -> Result<()> {
    let (name, bytes) = store.write_segment(|out| {
        out.write_all(b"segment")
            .map_err(Error::io("write", Path::new("a segment")))
    })?;
    let mut manifest = store.manifest().clone();
    let record = SegmentRecord {
        name,
        rows: 1,
        documents: 1,
        bytes,
        tombstones: 0,
        dead_rows: 0,
        dead_documents: 0,
    };
    manifest.collections[0].segments.push(record);
    store.commit(Commit {
        manifest,
        trim_wal: true,
    })
}

pub(super) fn create_collection(store: &mut Store) -> Result<()> {
    let mut manifest = store.manifest().clone();
    manifest.next_collection = 1;
    manifest.collections.push(CollectionRecord {
        id: 0,
        name: "c".into(),
        metric: Metric::Cosine,
        dimension: Some(2),
        encoder: None,
        segments: Vec::new(),
    });
    store.commit(Commit::of(manifest))
}

#[test]
fn whichever_file_operation_fails_the_state_is_old_or_new_and_nothing_acknowledged_is_lost() {
    let mut outcomes = [0, 0];
    for fail_at in 0.. {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("db");
        let dir = FaultyDir::default();
        let mut opened = Opened::open(&root, &dir.disk()).expect("opens");
        create_collection(&mut opened.store).expect("nothing fails yet");
        opened
            .store
            .append(&entry("a", "acknowledged"))
            .expect("nothing fails yet");
        let before = opened.store.manifest().clone();
        dir.plan(fail_at, Fault::Once(ErrorKind::StorageFull));
        let sealed = seal(&mut opened.store);
        let operations = dir.operations();
        drop(opened);

        let opened = open(&root).expect("opens after the fault");
        let after = opened.store.manifest();
        assert_eq!(
            Manifest::read(&opened.store.layout)
                .expect("readable")
                .as_ref(),
            Some(after),
            "fault {fail_at}"
        );
        if *after == before {
            assert_eq!(
                opened.unsealed,
                [entry("a", "acknowledged")],
                "fault {fail_at}: the old state"
            );
            assert!(
                sealed.is_err(),
                "fault {fail_at}: an acknowledged commit is gone"
            );
            outcomes[0] += 1;
        } else {
            assert_eq!(
                (after.seq, opened.unsealed.len()),
                (before.seq + 1, 0),
                "fault {fail_at}: the new state"
            );
            let segment = &after.collections[0].segments[0];
            let file = std::fs::read(opened.store.layout.segment(&segment.name))
                .expect("its segment is there");
            assert_eq!(file, b"segment", "fault {fail_at}");
            outcomes[1] += 1;
        }
        opened.store.sweep();
        let left = std::fs::read_dir(opened.store.layout.segments())
            .expect("there")
            .count();
        assert_eq!(
            left,
            after.collections[0].segments.len(),
            "fault {fail_at}: left-over files are swept"
        );
        if operations <= fail_at {
            assert!(sealed.is_ok(), "no operation was left to fail");
            break;
        }
    }
    assert!(
        outcomes[0] >= 5 && outcomes[1] >= 2,
        "both outcomes were met: {outcomes:?}"
    );
}

/// Puts a new segment, written beside other work, in the place of all others.
fn merge(store: &mut Store) -> Result<()> {
    let new = store.new_segment()?;
    // Another call is acknowledged meanwhile.
    store.append(&entry("b", "meanwhile"))?;
    let bytes = new.write(|out| {
        out.write_all(b"merged")
            .map_err(Error::io("write", Path::new("a segment")))
    })?;
    store.write_tombstones(new.name(), 1, |out| {
        out.write_all(b"dead")
            .map_err(Error::io("write", Path::new("tombstones")))
    })?;
    let mut manifest = store.manifest().clone();
    manifest.collections[0].segments = vec![SegmentRecord {
        name: new.name().to_owned(),
        rows: 2,
        documents: 2,
        bytes,
        tombstones: 1,
        dead_rows: 1,
        dead_documents: 1,
    }];
    new.hand_over();
    store.commit(Commit::of(manifest))
}

#[test]
fn whichever_file_operation_of_a_merge_fails_the_sources_or_the_new_segment_are_there_whole() {
    let mut outcomes = [0, 0];
    for fail_at in 0.. {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("db");
        let dir = FaultyDir::default();
        let mut opened = Opened::open(&root, &dir.disk()).expect("opens");
        create_collection(&mut opened.store).expect("nothing fails yet");
        for _ in 0..2 {
            seal(&mut opened.store).expect("nothing fails yet");
        }
        let before = opened.store.manifest().clone();
        dir.plan(fail_at, Fault::Once(ErrorKind::StorageFull));
        let merged = merge(&mut opened.store);
        let operations = dir.operations();
        drop(opened);

        let opened = open(&root).expect("opens after the fault");
        let after = opened.store.manifest();
        assert_eq!(
            opened.unsealed,
            [entry("b", "meanwhile")],
            "fault {fail_at}"
        );
        let layout = &opened.store.layout;
        let whole = |segment: &SegmentRecord, bytes: &[u8]| {
            let file = std::fs::read(layout.segment(&segment.name)).expect("it is there");
            assert_eq!(file, bytes, "fault {fail_at}");
        };
        let segments = &after.collections[0].segments;
        if *after == before {
            assert!(merged.is_err(), "fault {fail_at}: the commit is gone");
            segments
                .iter()
                .for_each(|segment| whole(segment, b"segment"));
            outcomes[0] += 1;
        } else {
            assert_eq!((after.seq, segments.len()), (before.seq + 1, 1));
            whole(&segments[0], b"merged");
            let dead = std::fs::read(layout.tombstones(&segments[0].name, 1));
            assert_eq!(dead.expect("they are there"), b"dead", "fault {fail_at}");
            outcomes[1] += 1;
        }
        opened.store.sweep();
        assert_eq!(
            std::fs::read_dir(layout.segments()).expect("there").count(),
            2,
            "fault {fail_at}: two sources, or one segment and its tombstones"
        );
        if operations <= fail_at {
            assert!(merged.is_ok(), "no operation was left to fail");
            break;
        }
    }
    assert!(
        outcomes[0] >= 8 && outcomes[1] >= 2,
        "both outcomes were met: {outcomes:?}"
    );
}

#[test]
fn a_segment_that_no_commit_took_is_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut opened = open(&folder.path().join("db")).expect("opens");
    let new = opened.store.new_segment().expect("a name");
    let written = new.write(|out| {
        out.write_all(b"given up")
            .map_err(Error::io("write", Path::new("a segment")))
    });
    assert_eq!(written.expect("writes"), 8);
    let path = new.path().to_path_buf();
    // Nothing that others do in between takes it for theirs.
    create_collection(&mut opened.store).expect("commits");
    opened.store.discard_written();
    assert!(path.exists());
    drop(new);
    assert!(!path.exists());
}

#[test]
fn after_a_commit_of_unknown_fate_the_store_refuses_writes_until_it_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    let dir = FaultyDir::default();
    let mut opened = Opened::open(&root, &dir.disk()).expect("opens");
    dir.plan(0, Fault::Once(ErrorKind::StorageFull));
    create_collection(&mut opened.store).expect_err("MANIFEST cannot be written");
    let refused = opened
        .store
        .append(&entry("a", "text"))
        .expect_err("uncertain");
    assert!(refused.to_string().contains("open it again"), "{refused}");
    drop(opened);
    let mut opened = open(&root).expect("opens");
    assert_eq!(
        opened.store.manifest().collections.len(),
        1,
        "the catalog had it: the new state"
    );
    opened
        .store
        .append(&entry("a", "text"))
        .expect("certain again");
}

#[test]
fn write_ahead_rows_longer_than_a_value_come_back_whole_and_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    let long = "all work and no play ".repeat(2_000);
    let mut opened = open(&root).expect("opens");
    create_collection(&mut opened.store).expect("commits");
    let entries = [
        entry("a", &long),
        WalEntry::Delete {
            collection: 0,
            ids: vec!["a".into()],
        },
        entry("b", "short"),
    ];
    for entry in &entries {
        opened.store.append(entry).expect("appends");
    }
    drop(opened);
    assert_eq!(open(&root).expect("opens").unsealed, entries);
    assert!(
        !root
            .join("meta/blobs")
            .read_dir()
            .is_ok_and(|mut d| d.next().is_some()),
        "no value spilled to a blob"
    );
}

#[test]
fn a_foreign_folder_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("thesis.txt"), "mine").expect("writes");
    assert!(matches!(
        open(folder.path()).err(),
        Some(Error::NotADatabase { .. })
    ));
    let names: Vec<_> = folder
        .path()
        .read_dir()
        .expect("there")
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(names, ["thesis.txt"]);
    assert!(matches!(
        open(&folder.path().join("thesis.txt")).err(),
        Some(Error::NotADatabase { .. })
    ));
}

#[test]
fn without_manifest_and_catalog_segments_are_not_taken_for_rubbish() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    let mut opened = open(&root).expect("opens");
    create_collection(&mut opened.store).expect("commits");
    seal(&mut opened.store).expect("commits");
    let layout = opened.store.layout.clone();
    drop(opened);
    std::fs::remove_file(layout.manifest()).expect("there");
    std::fs::remove_dir_all(layout.meta()).expect("there");
    assert!(matches!(open(&root).err(), Some(Error::Damaged { .. })));
    assert!(matches!(
        super::read_only(&layout),
        Err(Error::Damaged { .. })
    ));
    assert_eq!(
        std::fs::read_dir(layout.segments()).expect("there").count(),
        1,
        "the segment is still there"
    );
}

#[test]
fn what_a_kill_left_of_a_database_being_made_is_no_obstacle() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    std::fs::create_dir_all(root.join("meta")).expect("creates");
    std::fs::write(root.join("LOCK"), "pid 1").expect("writes");
    std::fs::write(root.join("FORMAT"), "vecdb 1 1\n").expect("writes");
    // sled writes its settings in two steps: here the second is missing.
    std::fs::write(root.join("meta/conf"), [b'x'; 30]).expect("writes");
    let mut opened = open(&root).expect("opens");
    create_collection(&mut opened.store).expect("commits");
    drop(opened);
    assert_eq!(
        open(&root)
            .expect("opens")
            .store
            .manifest()
            .collections
            .len(),
        1
    );
}

#[test]
fn a_snapshot_that_a_kill_left_half_written_is_no_obstacle() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    let mut opened = open(&root).expect("opens");
    create_collection(&mut opened.store).expect("commits");
    opened
        .store
        .append(&entry("a", "acknowledged"))
        .expect("appends");
    let meta = opened.store.layout.meta();
    drop(opened);
    for bytes in [&b""[..], b"half of a snapshot"] {
        std::fs::write(meta.join("snap.00000000000FFFFF.generating"), bytes).expect("writes");
        let opened = open(&root).expect("opens");
        assert_eq!(opened.unsealed, [entry("a", "acknowledged")]);
    }
}

#[test]
fn a_failed_seal_leaves_no_files_and_can_be_tried_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    let mut opened = open(&root).expect("opens");
    create_collection(&mut opened.store).expect("commits");
    let store = &mut opened.store;
    let written = store.write_segment(|out| {
        out.write_all(b"one")
            .map_err(Error::io("write", Path::new("one")))
    });
    written.expect("writes");
    store
        .write_segment(|_| Err(Error::Cancelled))
        .expect_err("fails");
    store.discard_written();
    assert_eq!(
        std::fs::read_dir(store.layout.segments())
            .expect("there")
            .count(),
        0
    );
    seal(store).expect("commits");
    store.discard_written();
    assert_eq!(
        std::fs::read_dir(store.layout.segments())
            .expect("there")
            .count(),
        1,
        "what is named stays"
    );
}

#[test]
fn a_manifest_ahead_of_the_catalog_or_missing_is_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    let mut opened = open(&root).expect("opens");
    create_collection(&mut opened.store).expect("commits");
    seal(&mut opened.store).expect("commits");
    let layout = opened.store.layout.clone();
    let ahead = Manifest {
        seq: 9,
        ..opened.store.manifest().clone()
    };
    drop(opened);
    ahead.write(&SystemDir, &layout).expect("writes");
    assert!(matches!(open(&root).err(), Some(Error::Damaged { .. })));
    std::fs::remove_file(layout.manifest()).expect("there");
    assert!(matches!(open(&root).err(), Some(Error::Damaged { .. })));
}

#[test]
fn a_catalog_made_anew_opens_with_all_that_manifest_says_and_the_write_ahead_rows_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    let mut opened = open(&root).expect("opens");
    create_collection(&mut opened.store).expect("commits");
    seal(&mut opened.store).expect("commits");
    let layout = opened.store.layout.clone();
    let manifest = opened.store.manifest().clone();
    drop(opened);
    let long = "a text of many parts ".repeat(100_000);
    let unsealed = [entry("a", "short"), entry("b", &long), entry("c", "last")];
    let disk = Disk::default();
    write_catalog(&layout, &disk, &manifest, &unsealed).expect_err("there is one");
    for unsealed in [&unsealed[..], &[]] {
        std::fs::remove_dir_all(layout.meta()).expect("there");
        // What a kill left of an earlier try.
        std::fs::create_dir(layout.unfinished_meta()).expect("creates");
        std::fs::write(layout.unfinished_meta().join("conf"), "xx").expect("writes");
        write_catalog(&layout, &disk, &manifest, unsealed).expect("rebuilds");
        assert!(!layout.unfinished_meta().exists());
        let opened = open(&root).expect("opens");
        assert_eq!(opened.store.manifest(), &manifest);
        assert!(opened.unsealed == unsealed);
    }
}
