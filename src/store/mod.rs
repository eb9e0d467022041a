//! What is durable, and what is current.
//!
//!   write-ahead entries ─┐
//!   segment files ───────┼→ commit.rs → catalog (sled) → MANIFEST
//!   tombstone files ─────┘
//!
//! The store knows names, counts and bytes; what a segment holds is not its concern. Acknowledged means fsynced.
//!
//! | file | subject |
//! |---|---|
//! | `layout.rs` | where things lie in the folder |
//! | `dir.rs` | every change that we make to files |
//! | `faults.rs` | in tests: a disk that fails, fills up, and forgets what was not synced |
//! | `lock.rs` | one writer, and who it is |
//! | `manifest.rs` | MANIFEST: the current state for readers |
//! | `kv.rs` | sled |
//! | `codec.rs` | values in sled: bincode behind a checksum |
//! | `catalog.rs` | keys and values of the catalog |
//! | `commit.rs` | the order of a commit, proved case by case |
//! | `recover.rs` | from what a crash left to a state that was committed |
//! | `migrate.rs` | from an older format to the current one |
//! | `fuzzing.rs` | for fuzz targets: the decoders |

mod catalog;
mod codec;
mod commit;
mod dir;
#[cfg(test)]
pub(crate) mod faults;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod kv;
mod layout;
mod lock;
mod manifest;
mod migrate;
mod recover;
#[cfg(test)]
mod tests;

pub(crate) use catalog::WalEntry;
pub(crate) use commit::{Commit, NewSegment, Store};
pub(crate) use dir::Disk;
pub(crate) use layout::Layout;
pub(crate) use manifest::{CollectionRecord, EncoderRecord, Manifest, SegmentRecord};
pub(crate) use migrate::{FORMAT, Plan, migrate, migration};
pub(crate) use recover::{Opened, check_stamp, read_only, was_closed};
