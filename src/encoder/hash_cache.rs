//! Remembers the hash of a weights file, so that opening an encoder need not read all of it.
//!
//! A record counts only while the file is the same file (device and inode where there are such), of the same length,
//! and neither written nor changed in its attributes since (modification and change time, in nanoseconds). A file
//! changed within the last seconds is not recorded: a second change could fall into the same tick of the clock.
//! A cache that cannot be read or written is no cache: the file is hashed.

use std::fs::{self, Metadata};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::xxh3_128;

/// Younger changes may share their time stamp with the next.
const SETTLED: Duration = Duration::from_secs(3);

/// The recorded hash of `path`, else what `compute` gives, recorded in `folder` for next time.
///
/// `metadata` is that of the open file, taken before `compute` reads it.
pub(super) fn remembered(
    folder: Option<&Path>,
    path: &Path,
    metadata: &Metadata,
    compute: impl FnOnce() -> u128,
) -> u128 {
    let (Some(folder), Some(state)) = (folder, state_of(metadata)) else {
        return compute();
    };
    let record = folder.join(format!(
        "{:032x}",
        xxh3_128(path.as_os_str().as_encoded_bytes())
    ));
    if let Some(hash) = read(&record, &state) {
        return hash;
    }
    let hash = compute();
    if settled(metadata) {
        // Failing to remember is harmless.
        let _ = write(folder, &record, &state, hash);
    }
    hash
}

/// Everything about a file that changes when its content does, as one line.
fn state_of(metadata: &Metadata) -> Option<String> {
    let modified = metadata
        .modified()
        .ok()?
        .duration_since(UNIX_EPOCH)
        .ok()?
        .as_nanos();
    Some(format!(
        "{} {modified} {}",
        metadata.len(),
        identity(metadata)
    ))
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!(
        "{} {} {}.{}",
        metadata.dev(),
        metadata.ino(),
        metadata.ctime(),
        metadata.ctime_nsec()
    )
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> String {
    "-".into()
}

fn settled(metadata: &Metadata) -> bool {
    let before = SystemTime::now().checked_sub(SETTLED);
    let changed = [metadata.modified().ok(), changed(metadata)]
        .into_iter()
        .flatten()
        .max();
    matches!((changed, before), (Some(changed), Some(before)) if changed < before)
}

/// When the attributes changed last, which a copied modification time cannot hide.
#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    UNIX_EPOCH.checked_add(Duration::from_secs(
        u64::try_from(metadata.ctime()).ok()? + 1,
    ))
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> Option<SystemTime> {
    None
}

/// A record is `check hash state`; the check is a hash of the rest, so a torn or damaged record does not count.
fn line(state: &str, hash: u128) -> String {
    let rest = format!("{hash:032x} {state}");
    format!("{:032x} {rest}\n", xxh3_128(rest.as_bytes()))
}

fn read(record: &Path, state: &str) -> Option<u128> {
    let text = fs::read_to_string(record).ok()?;
    let hash = u128::from_str_radix(text.split(' ').nth(1)?, 16).ok()?;
    (text == line(state, hash)).then_some(hash)
}

fn write(folder: &Path, record: &Path, state: &str, hash: u128) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(line(state, hash).as_bytes())?;
    file.persist(record)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::PathBuf;

    use super::*;

    /// A file whose last change lies in the past, as far as it can be set: the change time cannot.
    fn file(folder: &Path, text: &str) -> (PathBuf, Metadata) {
        let path = folder.join("weights");
        fs::write(&path, text).expect("written");
        let file = File::options().write(true).open(&path).expect("opened");
        file.set_modified(SystemTime::now() - Duration::from_secs(60))
            .expect("set");
        let metadata = file.metadata().expect("metadata");
        (path, metadata)
    }

    #[test]
    fn a_record_counts_for_the_same_state_only_and_never_when_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let record = folder.path().join("record");
        write(folder.path(), &record, "5 6 7", 42).expect("written");
        assert_eq!(read(&record, "5 6 7"), Some(42));
        assert_eq!(read(&record, "5 6 8"), None);
        let good = fs::read(&record).expect("read");
        for at in 0..good.len() {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            fs::write(&record, &damaged).expect("written");
            assert_eq!(read(&record, "5 6 7"), None, "byte {at}");
            fs::write(&record, &good[..at]).expect("written");
            assert_eq!(read(&record, "5 6 7"), None, "cut at {at}");
        }
    }

    #[test]
    fn a_file_that_changed_just_now_is_hashed_again_and_an_old_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("cache");
        let (path, young) = file(folder.path(), "one");
        assert_eq!(remembered(Some(&cache), &path, &young, || 1), 1);
        // On Unix its change time is now; elsewhere only the modification time, which lies back, is known.
        let recorded = cache.exists();
        assert_eq!(recorded, !cfg!(unix));
        write(
            &cache,
            &cache.join(format!(
                "{:032x}",
                xxh3_128(path.as_os_str().as_encoded_bytes())
            )),
            &state_of(&young).expect("a state"),
            7,
        )
        .expect("written");
        assert_eq!(remembered(Some(&cache), &path, &young, || 1), 7);
        let (_, changed) = file(folder.path(), "two!");
        assert_eq!(remembered(Some(&cache), &path, &changed, || 2), 2);
    }

    #[test]
    fn without_a_folder_or_with_one_that_cannot_be_made_the_file_is_hashed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, metadata) = file(folder.path(), "one");
        assert_eq!(remembered(None, &path, &metadata, || 3), 3);
        assert_eq!(
            remembered(Some(&path.join("below a file")), &path, &metadata, || 3),
            3
        );
    }
}
