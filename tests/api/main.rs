//! The library as its users see it. One binary, so that it links once.

mod architecture;
mod asking;
mod concurrency;
mod damage;
#[cfg(unix)]
mod fork;
mod golden;
mod kill;
mod merging;
mod model;
mod paths;
#[cfg(unix)]
mod places;
mod processes;
mod purge;
mod random;
mod recall;
mod repair;
mod snapshot;
mod stress;
#[cfg(feature = "encoder")]
mod text;
mod transfer;
mod verbs;
mod world;

/// Copies a folder with all that is in it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("creates");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copies");
        }
    }
}
