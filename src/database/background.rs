//! What happens without being asked for: sealing after a pause in the writing, and merging.
//!
//! Three threads, so that a long merge keeps neither rows from being sealed nor small merges from being made. Each starts when it is first needed and ends when the
//! database closes. They take the writer's lock as any writer does. A failure here is nobody's call: it is remembered for
//! [`Database::background_error`](super::Database::background_error), and the work is tried again after a while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::inner::Inner;
use super::merge::SMALL_ROWS;
use crate::error::{Error, Result};

/// The pause after a first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A kind of work, with a thread of its own.
#[derive(Clone, Copy)]
pub(super) enum Work {
    Seal,
    /// One that takes no graph.
    SmallMerge,
    Merge,
}

const KINDS: usize = 3;

/// The threads and what they are told.
#[derive(Default)]
pub(super) struct Background {
    inner: Weak<Inner>,
    /// Heard in the middle of a merge.
    stop: AtomicBool,
    told: Mutex<Told>,
    changed: Condvar,
    threads: Mutex<[Option<JoinHandle<()>>; KINDS]>,
}

#[derive(Default)]
struct Told {
    jobs: [Job; KINDS],
}

/// What one thread has to do.
#[derive(Default)]
struct Job {
    /// When; `None` if there is nothing to do.
    due: Option<Instant>,
    failures: u32,
    error: Option<String>,
}

impl Background {
    pub fn of(inner: &Weak<Inner>) -> Self {
        Self {
            inner: Weak::clone(inner),
            ..Self::default()
        }
    }

    /// Something was acknowledged that is not sealed: it will be `idle` after the last such call.
    pub fn wrote(&self, idle: Duration) {
        let Some(due) = Instant::now().checked_add(idle) else {
            return;
        };
        let mut told = self.told();
        let seal = &mut told.jobs[Work::Seal as usize];
        // After a failure the pause is what counts.
        if seal.failures > 0 && seal.due.is_some() {
            return;
        }
        // A thread that waits for an earlier moment looks again then.
        if seal.due.replace(due).is_none() {
            drop(told);
            self.wake(Work::Seal);
        }
    }

    /// Nothing is left to seal.
    pub fn sealed(&self) {
        self.told().jobs[Work::Seal as usize] = Job::default();
    }

    /// There is work now.
    pub fn is_due(&self, work: Work) {
        let mut told = self.told();
        let job = &mut told.jobs[work as usize];
        if job.due.is_none() {
            job.due = Some(Instant::now());
            drop(told);
            self.wake(work);
        }
    }

    /// What failed last and did not succeed since.
    pub fn error(&self) -> Option<String> {
        let told = self.told();
        told.jobs.iter().find_map(|job| job.error.clone())
    }

    /// Ends the threads, and waits for them. The merge in hand is given up.
    pub fn stop(&self) {
        {
            // Under the lock, or a thread could miss it between looking and waiting.
            let _told = self.told();
            self.stop.store(true, Ordering::SeqCst);
        }
        self.changed.notify_all();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads.into_iter().flatten() {
            // One that panicked has ended too.
            let _ = thread.join();
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, work: Work) {
        self.changed.notify_all();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = &mut threads[work as usize];
        if thread.is_some() || self.stop.load(Ordering::SeqCst) {
            return;
        }
        // `None` while the database is being opened: what is left then is told again at the next write.
        let Some(inner) = self.inner.upgrade() else {
            return;
        };
        let name = match work {
            Work::Seal => "vecdb-seal",
            Work::SmallMerge => "vecdb-merge-small",
            Work::Merge => "vecdb-merge",
        };
        let started = thread::Builder::new()
            .name(name.into())
            .spawn(move || run(&inner, work));
        match started {
            Ok(started) => *thread = Some(started),
            Err(error) => {
                let mut told = self.told();
                let job = &mut told.jobs[work as usize];
                // The next write or seal tries to start it again.
                job.due = None;
                job.error = Some(format!("cannot start a thread: {error}"));
            }
        }
    }

    /// Waits until there is work, and takes it. `false` when there will be no more.
    fn wait(&self, work: Work) -> bool {
        let mut told = self.told();
        loop {
            if self.stop.load(Ordering::SeqCst) {
                return false;
            }
            let now = Instant::now();
            told = match told.jobs[work as usize].due {
                Some(due) if due <= now => {
                    told.jobs[work as usize].due = None;
                    return true;
                }
                Some(due) => {
                    self.changed
                        .wait_timeout(told, due - now)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .changed
                    .wait(told)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes note of how it went; `more`: it is to be done again at once.
    fn went(&self, work: Work, result: Result<bool>) {
        let mut told = self.told();
        let job = &mut told.jobs[work as usize];
        match result {
            Ok(more) => {
                // What was told meanwhile stays told.
                let now = more.then(Instant::now);
                *job = Job {
                    due: now.or(job.due),
                    ..Job::default()
                }
            }
            Err(Error::Cancelled) => {}
            Err(error) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << job.failures.min(16));
                job.failures += 1;
                job.due = Some(Instant::now() + pause.min(LONGEST_PAUSE));
                job.error = Some(error.to_string());
            }
        }
    }
}

fn run(inner: &Arc<Inner>, work: Work) {
    let background = &inner.background;
    let stop = || background.stop.load(Ordering::Relaxed);
    let merge = |most_rows| inner.merge_next(most_rows, &stop);
    while background.wait(work) {
        let result = match work {
            Work::Seal => inner.flush().map(|()| false),
            Work::SmallMerge => merge(SMALL_ROWS).map(|made| made.is_some()),
            Work::Merge => merge(u64::MAX).map(|made| made.is_some()),
        };
        background.went(work, result);
    }
}
