//! Numbered jobs → their results, on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, ScopedJoinHandle, scope};

use crate::error::{Error, Result};

/// Does the jobs `0..count` and returns their results in order.
///
/// At most `threads` workers, this thread one of them, take the next job each until none is left. A worker first calls
/// `start` for what it works with. Where the system refuses a thread, fewer work. After an error nobody takes another job.
///
/// # Errors
/// The first that a worker met, in the order of the workers; [`Error::Encode`] if one panicked.
pub(super) fn run<S, T: Send>(
    threads: usize,
    count: usize,
    start: impl Fn() -> Result<S> + Sync,
    job: impl Fn(&mut S, usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let _stop = StopAll(&next, count);
        let mut state = start()?;
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return Ok(done);
            }
            done.push((at, job(&mut state, at)?));
        }
    };
    let helpers = threads.min(count).saturating_sub(1);
    let results: Vec<Result<Vec<(usize, T)>>> = scope(|scope| {
        let handles: Vec<_> = (0..helpers)
            .map_while(|_| Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let own = work();
        let joined = handles.into_iter().map(ScopedJoinHandle::join);
        let joined = joined.map(|result| {
            result.unwrap_or_else(|_| {
                Err(Error::Encode {
                    what: "a worker thread panicked".into(),
                })
            })
        });
        std::iter::once(own).chain(joined).collect()
    });
    let mut parts = Vec::with_capacity(count);
    for result in results {
        parts.extend(result?);
    }
    parts.sort_unstable_by_key(|&(at, _)| at);
    Ok(parts.into_iter().map(|(_, part)| part).collect())
}

/// Leaves no job for the others when its worker ends: by an error, by a panic, or because there is none.
struct StopAll<'a>(&'a AtomicUsize, usize);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        self.0.fetch_max(self.1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_jobs() {
        for (threads, count) in [(1, 5), (4, 100), (4, 2), (3, 0)] {
            let squares = run(threads, count, || Ok(()), |(), at| Ok(at * at)).expect("done");
            assert_eq!(squares, (0..count).map(|at| at * at).collect::<Vec<_>>());
        }
    }

    #[test]
    fn after_an_error_nobody_takes_another_job() {
        let taken = AtomicUsize::new(0);
        let error = run(
            4,
            2_000,
            || Ok(()),
            |(), at| {
                taken.fetch_add(1, Ordering::Relaxed);
                if at == 0 {
                    return Err(Error::Encode {
                        what: "job 0".into(),
                    });
                }
                std::thread::sleep(Duration::from_millis(1));
                Ok(())
            },
        );
        assert!(error.expect_err("job 0").to_string().contains("job 0"));
        let taken = taken.into_inner();
        assert!(taken < 1_000, "{taken} jobs were taken");
    }

    #[test]
    fn a_worker_that_cannot_start_is_an_error() {
        let start = || {
            Err::<(), _>(Error::Encode {
                what: "no session".into(),
            })
        };
        let error = run(3, 10, start, |(), at| Ok(at)).expect_err("no worker");
        assert!(error.to_string().contains("no session"), "{error}");
    }
}
