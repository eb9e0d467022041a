//! Work on many threads that a lock, or anything else that others wait for, is held for.
//!
//! A rayon worker that waits for the parts of its work takes up other work meanwhile, whatever lies in its queue: perhaps
//! a call of the same database, which then waits for the lock that this very thread holds. And a thread that is no worker
//! hands its parts to the global pool, all of whose workers may be waiting for that lock. So such work gets a pool of its
//! own, whose workers do nothing else, and is begun on a plain thread, for which the caller waits and does nothing else.

use std::panic::resume_unwind;
use std::path::Path;
use std::thread::Builder;

use crate::error::{Error, Result};

/// Does `work`, its parts on so many threads. `path` is what an error names: the file that the work is for.
///
/// # Errors
/// [`Error::Io`] if the system refuses the threads; and what `work` says.
pub(super) fn apart<T: Send>(
    threads: usize,
    path: &Path,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let refused = |source| Error::io("start threads to build", path)(source);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| refused(std::io::Error::other(e)))?;
    std::thread::scope(|scope| {
        let started = Builder::new()
            .name("vecdb-build".into())
            .spawn_scoped(scope, || pool.install(work));
        let ended = started.map_err(refused)?.join();
        // A panic is the caller's, as if it had done the work itself.
        ended.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use rayon::prelude::*;

    use super::*;

    /// A thread that is no worker holds the lock and works in parallel, again and again, while all workers of the global
    /// pool wait for the lock.
    fn calls() -> u64 {
        let lock = Mutex::new(0);
        let sum = || (0..1_000_u64).into_par_iter().map(|n| n % 2).sum::<u64>();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut total = lock.lock().expect("nobody panicked");
                    std::thread::sleep(Duration::from_millis(3));
                    *total += apart(2, Path::new("x"), || Ok(sum())).expect("threads");
                }
            });
            let wait = |_| drop(lock.lock().expect("nobody panicked"));
            (0..10_000).into_par_iter().for_each(wait);
        });
        lock.into_inner().expect("nobody panicked")
    }

    #[test]
    fn work_under_a_lock_waits_for_nobody_who_waits_for_the_lock() {
        let (done, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(calls()));
        let total = ended.recv_timeout(Duration::from_secs(30));
        assert_eq!(total.expect("the calls wait for each other"), 10 * 500);
    }

    #[test]
    fn an_error_and_a_panic_are_the_callers() {
        let failed = apart(1, Path::new("x"), || Err::<(), _>(Error::Cancelled));
        assert!(matches!(failed, Err(Error::Cancelled)));
        let panicked = std::panic::catch_unwind(|| {
            apart(1, Path::new("x"), || -> Result<()> { panic!("expected") })
        });
        assert!(panicked.is_err());
    }
}
