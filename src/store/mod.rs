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
//! | `examine.rs` | MANIFEST and catalog, looked at and left as they are |
//! | `lock.rs` | one writer |
//! | `holder.rs` | who that is |
//! | `manifest.rs` | MANIFEST: the current state for readers |
//! | `mark.rs` | what must be in the catalog at least |
//! | `kv.rs` | sled |
//! | `codec.rs` | values in sled: bincode behind a checksum |
//! | `catalog.rs` | keys and values of the catalog |
//! | `commit.rs` | the order of a commit, proved case by case |
//! | `models.rs` | encoders that are kept with the data |
//! | `rebuild.rs` | the catalog made anew from MANIFEST |
//! | `renew.rs` | the catalog without what was ever removed from it |
//! | `snapshot.rs` | a copy of a database while it is written to |
//! | `current.rs` | what is current, for readers; why they need no lock |
//! | `recover.rs` | from what a crash left to a state that was committed |
//! | `repair.rs` | FORMAT, MANIFEST and catalog made to agree again |
//! | `migrate.rs` | from an older format to the current one |
//! | `fuzzing.rs` | for fuzz targets: the decoders |

mod catalog;
mod codec;
mod commit;
mod current;
mod dir;
mod examine;
#[cfg(test)]
pub(crate) mod faults;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod holder;
mod kv;
mod layout;
mod lock;
mod manifest;
mod mark;
mod migrate;
mod models;
mod rebuild;
mod recover;
mod renew;
mod repair;
mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use catalog::WalEntry;
pub(crate) use commit::{Commit, NewSegment, Store};
pub(crate) use current::Current;
pub(crate) use dir::Disk;
pub(crate) use examine::look;
pub(crate) use layout::Layout;
pub(crate) use manifest::{CollectionRecord, EncoderRecord, Manifest, SegmentRecord};
pub(crate) use migrate::{FORMAT, Plan, migrate, migration};
#[cfg(feature = "encoder")]
pub(crate) use models::folder as model_folder;
pub(crate) use models::missing as missing_models;
pub(crate) use recover::{Opened, check_stamp, leftovers, read_only, was_closed};
pub(crate) use snapshot::{Held, begin as begin_snapshot, missing_file};
