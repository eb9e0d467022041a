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
    let passages = vec![EmbeddedPassage::new(0..text.len(), vector)];
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
    assert!(matches!(open(&root).err(), Some(Error::Catalog { .. })));
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

/// A collection, a segment, and three acknowledged calls that are in no segment yet; and what MANIFEST says.
fn with_unsealed(root: &Path) -> (super::Layout, Manifest, Vec<WalEntry>) {
    let mut opened = open(root).expect("opens");
    create_collection(&mut opened.store).expect("commits");
    opened.store.append(&entry("z", "sealed")).expect("appends");
    seal(&mut opened.store).expect("commits");
    let long = "all work and no play ".repeat(3_000);
    let entries = vec![entry("a", "short"), entry("b", &long), entry("c", "last")];
    for entry in &entries {
        opened.store.append(entry).expect("appends");
    }
    let layout = opened.store.layout.clone();
    (layout, opened.store.manifest().clone(), entries)
}

fn mend(root: &Path) -> (Opened, super::repair::Mended) {
    Opened::mend(root, &Disk::default()).expect("too little is damaged to fail")
}

#[test]
fn what_is_whole_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    let (layout, manifest, entries) = with_unsealed(&root);
    let before = std::fs::read(layout.manifest()).expect("there");
    for _ in 0..2 {
        let (opened, mended) = mend(&root);
        assert_eq!(opened.store.manifest(), &manifest);
        assert!(opened.unsealed == entries);
        assert!(
            mended.done.is_empty() && mended.lost.is_empty(),
            "{mended:?}"
        );
    }
    assert_eq!(std::fs::read(layout.manifest()).expect("there"), before);
    assert!(!layout.aside().exists() && !layout.meta_copy().exists());
}

#[test]
fn a_missing_or_damaged_manifest_comes_back_from_the_catalog() {
    for damage in [None, Some(&b"vecdb-manifest 1 0\n{}"[..]), Some(b"")] {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("db");
        let (layout, manifest, entries) = with_unsealed(&root);
        std::fs::write(layout.segment("01J0000000000000000000000X"), "unnamed").expect("writes");
        match damage {
            None => std::fs::remove_file(layout.manifest()),
            Some(bytes) => std::fs::write(layout.manifest(), bytes),
        }
        .expect("there");
        assert!(open(&root).is_err());
        let (opened, mended) = mend(&root);
        assert_eq!(opened.store.manifest(), &manifest);
        assert!(opened.unsealed == entries);
        assert_eq!((mended.done.len(), mended.lost.len()), (2, 0), "{mended:?}");
        opened.store.sweep();
        let aside = layout.aside().join("01J0000000000000000000000X.seg");
        assert!(
            aside.exists(),
            "what may be the catalog's loss is not swept"
        );
        drop(opened);
        assert_eq!(Manifest::read(&layout).expect("whole"), Some(manifest));
        open(&root).expect("opens");
    }
}

#[test]
fn a_lost_catalog_is_made_anew_and_what_only_it_held_is_told_as_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    let (layout, manifest, _) = with_unsealed(&root);
    std::fs::remove_dir_all(layout.meta()).expect("there");
    let refused = open(&root).err().expect("refused").to_string();
    assert!(refused.contains("it is missing"), "{refused}");
    assert!(!layout.meta().exists(), "nothing was made in its place");
    let (opened, mended) = mend(&root);
    assert_eq!(opened.store.manifest(), &manifest);
    assert!(opened.unsealed.is_empty());
    assert_eq!((mended.done.len(), mended.lost.len()), (1, 1), "{mended:?}");
}

#[test]
fn acknowledged_calls_that_sled_forgot_are_missed() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    let (layout, manifest, entries) = with_unsealed(&root);
    // The first byte of the last call's text: for sled the log then ends before it.
    let log = layout.meta().join("db");
    let mut bytes = std::fs::read(&log).expect("there");
    let at = bytes
        .windows(4)
        .rposition(|four| four == b"last")
        .expect("it is in the log");
    bytes[at] ^= 1;
    std::fs::write(&log, bytes).expect("writes");
    let examined = super::look(&layout, &Disk::default()).expect("nobody writes");
    let damage = examined.examined().catalog_damage.as_ref();
    let damage = damage.expect("one is missing").to_string();
    assert!(damage.contains("1 acknowledged calls"), "{damage}");
    drop(examined);
    for _ in 0..2 {
        let refused = open(&root).err().expect("refused").to_string();
        assert!(refused.contains("1 acknowledged calls"), "{refused}");
    }
    let (opened, mended) = mend(&root);
    assert_eq!(opened.store.manifest(), &manifest);
    assert!(opened.unsealed == entries[..2], "those before it are kept");
    assert!(
        mended.lost[0].contains("1 acknowledged calls"),
        "{mended:?}"
    );
    drop(opened);
    assert!(open(&root).expect("opens").unsealed == entries[..2]);
}

#[test]
fn calls_of_an_older_catalog_are_not_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    let (layout, _, entries) = with_unsealed(&root);
    let older = folder.path().join("older");
    let copy = |name: &str| std::fs::copy(layout.meta().join(name), older.join(name));
    std::fs::create_dir(&older).expect("creates");
    let mut opened = open(&root).expect("opens");
    assert!(opened.unsealed == entries);
    for name in ["db", "conf", "ACKNOWLEDGED"] {
        copy(name).expect("copies");
    }
    seal(&mut opened.store).expect("commits");
    let manifest = opened.store.manifest().clone();
    drop(opened);
    std::fs::remove_dir_all(layout.meta()).expect("there");
    std::fs::rename(&older, layout.meta()).expect("moves");
    assert!(matches!(open(&root).err(), Some(Error::Catalog { .. })));
    let (opened, mended) = mend(&root);
    assert_eq!(opened.store.manifest(), &manifest);
    assert!(opened.unsealed.is_empty(), "they are in the segment");
    assert_eq!(mended.lost.len(), 1, "{mended:?}");
}

#[test]
fn a_damaged_stamp_comes_back_and_one_that_names_another_generation_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("db");
    let (_, manifest, _) = with_unsealed(&root);
    let stamp = root.join("FORMAT");
    for damage in ["", "vecdc 1 1\n", "vecdb 1 1", "vecdb 1 3\n", "vecdb 0 1\n"] {
        std::fs::write(&stamp, damage).expect("writes");
        assert!(super::check_stamp(&root).is_err(), "{damage:?}");
        assert!(open(&root).is_err(), "{damage:?}");
        let (opened, _) = mend(&root);
        assert_eq!(opened.store.manifest(), &manifest);
    }
    std::fs::write(&stamp, "vecdb 2 1\n").expect("writes");
    let newer = Opened::mend(&root, &Disk::default()).err();
    assert!(matches!(newer, Some(Error::NewerFormat { .. })));
}

#[test]
fn a_repair_that_was_cut_short_anywhere_is_completed_by_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = folder.path().join("made");
    let (layout, manifest, entries) = with_unsealed(&made);
    let log = layout.meta().join("db");
    let mut bytes = std::fs::read(&log).expect("there");
    let at = bytes.windows(4).rposition(|four| four == b"last");
    bytes[at.expect("it is in the log")] ^= 1;
    std::fs::write(&log, bytes).expect("writes");
    // MANIFEST is what tells that a damaged stamp is ours: not both at once.
    for name in ["MANIFEST", "FORMAT"] {
        let damaged = folder.path().join("damaged");
        copy(&made, &damaged);
        std::fs::write(damaged.join(name), "damaged").expect("writes");
        let mut cut = 0;
        for at in 0.. {
            let root = folder.path().join("db");
            copy(&damaged, &root);
            let dir = FaultyDir::default();
            dir.plan(at, Fault::Lasting(ErrorKind::Other));
            let failed = Opened::mend(&root, &dir.disk()).is_err();
            let (opened, _) = mend(&root);
            assert_eq!(opened.store.manifest(), &manifest, "operation {at}");
            assert!(opened.unsealed == entries[..2], "operation {at}");
            drop(opened);
            assert!(open(&root).expect("opens").unsealed == entries[..2]);
            if !failed {
                break;
            }
            cut += 1;
        }
        assert!(cut >= 10, "only {cut} repairs were cut short");
    }
}

/// Copies a folder in the place of another.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).expect("creates");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copies");
        }
    }
}
