//! A repair that fails, is killed or loses its power at any operation is completed by the next one.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::time::Duration;

use super::*;
use crate::database::{CollectionOptions, DatabaseOptions, Merging};
use crate::document::Document;
use crate::store::faults::{Fault, FaultyDir};
use crate::vector::Vector;

fn options() -> DatabaseOptions {
    let options = Database::options().merging(Merging::on_request());
    options.seal_after_idle(Duration::MAX)
}

fn stored(path: &Path) -> Result<BTreeMap<String, Document>> {
    let db = options().open(path)?;
    let points = db.existing_collection("points")?;
    points
        .documents()
        .map(|document| document.map(|document| (document.id.clone(), document)))
        .collect()
}

/// Two segments, the first one with tombstones, and a call in no segment yet.
fn make(path: &Path) -> Result<()> {
    let db = options().open(path)?;
    let points = db.create_collection("points", CollectionOptions::vectors(2))?;
    let add = |ids: std::ops::Range<u32>, version: u32| {
        let new = ids.map(|id| {
            let filling = "filling ".repeat(id as usize);
            let text = format!("version {version} of {id} {filling}");
            let vector = Vector::new(vec![1.0, id as f32]).expect("finite");
            (Document::new(format!("id{id}"), text), vector)
        });
        points.add_vectors(new).map(|_| ())
    };
    add(0..8, 1)?;
    db.flush()?;
    add(6..12, 2)?;
    db.flush()?;
    add(12..14, 3)?;
    let killed = path.with_extension("killed");
    copy(path, &killed);
    drop(points);
    db.close()?;
    fs::remove_dir_all(path).expect("there");
    fs::rename(killed, path).expect("moves");
    Ok(())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("creates");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copies");
        }
    }
}

/// Damages a code of the first segment, so that nothing is lost, and its tombstones and MANIFEST.
fn damage(path: &Path) {
    let mut files: Vec<_> = fs::read_dir(path.join("segments"))
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let [tombstones, segment, _] = &files[..] else {
        panic!("{files:?}");
    };
    fs::write(tombstones, "gone").expect("writes");
    let mut bytes = fs::read(segment).expect("reads");
    // The codes stand right before the vectors.
    let vector = (1.0f32 / 2.0f32.sqrt()).to_le_bytes();
    let at = bytes.windows(4).position(|four| four == vector);
    let codes = at.expect("that of document 1") - 8 - 8 * 64;
    bytes[codes] ^= 1;
    fs::write(segment, bytes).expect("writes");
    fs::write(path.join("MANIFEST"), "gone").expect("writes");
}

#[test]
fn a_repair_that_is_cut_short_anywhere_is_completed_by_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = folder.path().join("whole.vecdb");
    make(&whole).expect("nothing fails");
    let damaged = folder.path().join("damaged.vecdb");
    copy(&whole, &damaged);
    damage(&damaged);
    let good = stored(&whole).expect("opens");
    assert_eq!(good.len(), 14);
    assert!(stored(&damaged).is_err());
    let mut cut = 0;
    for at in 0.. {
        let path = folder.path().join(format!("{at}.vecdb"));
        copy(&damaged, &path);
        let dir = FaultyDir::default();
        let fault = match at % 2 {
            0 => Fault::Lasting(ErrorKind::Other),
            _ => Fault::Once(ErrorKind::StorageFull),
        };
        dir.plan(at, fault);
        let first = repair(&path, false, &dir.disk());
        let operations = dir.operations();
        let what = format!("operation {at} of {operations}");
        let last = match first {
            Ok(repaired) => repaired,
            Err(_) => {
                cut += 1;
                // Whatever stands there now, nobody takes it for sound and sweeps what is to be repaired.
                if let Ok(stored) = stored(&path) {
                    assert_eq!(stored, good, "{what}");
                }
                repair(&path, false, &Disk::default()).unwrap_or_else(|e| panic!("{what}: {e}"))
            }
        };
        assert!(last.affected.is_empty(), "{what}: {last:?}");
        assert!(last.report.problems.is_empty(), "{what}: {last:?}");
        assert_eq!(stored(&path).expect("opens"), good, "{what}");
        fs::remove_dir_all(&path).expect("there");
        if operations <= at {
            break;
        }
    }
    assert!(cut > 20, "only {cut} were cut short");
}
