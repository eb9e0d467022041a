//! Whatever a disk does to a database, what was acknowledged is there afterwards, whole.
//!
//! Histories of calls are run on a disk that fails at its n-th operation, or whose power is cut there, for every n. The
//! database is then what it was before the call that was hit, or what it is after it. How the disk fails, and what the cut
//! leaves, goes round with n and with `VECDB_SEED`; `VECDB_FAULTS=all` tries all ways for every n, which takes minutes.
//!
//! | file | subject |
//! |---|---|
//! | `history.rs` | the calls, what is stored after each, and what a database really holds |
//! | `order.rs` | what is done, and synced, before each call is acknowledged |
//! | `failing.rs` | an operation fails |
//! | `power.rs` | the power is cut |

mod failing;
mod history;
mod order;
mod power;

/// From the environment, or 1.
fn seed() -> u64 {
    let seed = std::env::var("VECDB_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("VECDB_SEED={seed}");
    seed
}

/// Of `all` ways, those that are tried at operation `at`.
fn ways(seed: u64, at: usize, all: usize) -> std::ops::Range<usize> {
    match std::env::var("VECDB_FAULTS").is_ok_and(|said| said == "all") {
        true => 0..all,
        false => {
            let way = (seed as usize + at) % all;
            way..way + 1
        }
    }
}
