//! Batches → vectors, on the sessions of one device.
//!
//! On the processor there are three kinds of session, opened as they are needed:
//!
//! - mapped: uses the weights where they are mapped. Opens in a few milliseconds and takes no memory of its own, so a
//!   command that asks one question does not pay for more.
//! - packed: its weights are repacked for the processor, in memory that all sessions share. Takes longer to open and runs
//!   full batches some 5 % faster, short queries in two thirds of the time. One thread each: several batches at once.
//! - wide: packed, and several threads share one batch. Serves a batch that is alone, such as a query.
//!
//! A GPU has one session; while it runs a batch, another thread pads the next. So has a graph that the folder brings: its
//! weights are not shared, and all threads work on one batch.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::batch::{Padded, Plan};
use super::device::{Provider, Shape};
use super::head::Head;
use super::network::Network;
use super::session::{Packed, Runtime, Session, Values};
use super::workers;
use crate::error::{Error, Result};
use crate::vector::Vector;

/// Runs batches; may be called from many threads at once.
pub(super) struct Pool {
    runtime: Runtime,
    network: Network,
    head: Head,
    provider: Provider,
    shape: Shape,
    /// The only ones on a GPU and for graphs of the folder's own.
    mapped: Sessions,
    packed: Sessions,
    wide: Sessions,
    shared: Mutex<Option<Arc<Shared>>>,
    /// Batches that were begun.
    runs: AtomicUsize,
    /// Batches that run now.
    running: AtomicUsize,
}

/// What packed sessions hold in common.
struct Shared {
    values: Values,
    packed: Packed,
}

impl Pool {
    /// Takes the first session with mapped weights, by which the caller saw that the graph loads.
    pub fn new(
        runtime: Runtime,
        network: Network,
        head: Head,
        provider: Provider,
        shape: Shape,
        first: Option<Session>,
    ) -> Self {
        Self {
            mapped: Sessions::new(shape.sessions, first),
            packed: Sessions::new(shape.sessions, None),
            wide: Sessions::new(1, None),
            runtime,
            network,
            head,
            provider,
            shape,
            shared: Mutex::new(None),
            runs: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
        }
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// How batches are to be cut.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Opens a session, where none is open yet, so that a graph that does not load is told now.
    pub fn try_out(&self) -> Result<()> {
        if self.shape.mapped_runs == 0 {
            drop(self.packed.lend(|| self.open_session(true, 1))?);
        }
        Ok(())
    }

    /// A vector for each row of the plan, in the plan's order.
    ///
    /// `rows_done` is told of each batch, from any thread, how many rows it had, and may end the work.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where `rows_done` ended it, [`Error::Encode`] where the runtime fails or what it gives is no
    /// vector.
    pub fn run(
        &self,
        plan: &Plan<'_>,
        rows_done: &(dyn Fn(usize) -> ControlFlow<()> + Sync),
    ) -> Result<Vec<Vector>> {
        let parts = workers::run(
            self.shape.workers,
            plan.batches.len(),
            || Ok(()),
            |(), at| {
                let batch = &plan.batches[at];
                let padded = Padded::new(&plan.rows[batch.clone()], &self.head);
                let vectors = self.run_batch(&padded, plan.batches.len() == 1)?;
                match rows_done(batch.len()) {
                    ControlFlow::Continue(()) => Ok(vectors),
                    ControlFlow::Break(()) => Err(Error::Cancelled),
                }
            },
        )?;
        Ok(parts.into_iter().flatten().collect())
    }

    fn run_batch(&self, padded: &Padded, alone: bool) -> Result<Vec<Vector>> {
        let mut pooled = Vec::new();
        {
            let _running = Running::new(&self.running);
            let mut session = self.lend(alone)?;
            session.run(|session| session.run(padded, &mut pooled))?;
        }
        let inputs = self.head.inputs();
        if pooled.len() != padded.rows * inputs {
            let what = format!(
                "the model gave {} numbers for {} texts of {inputs}",
                pooled.len(),
                padded.rows
            );
            return Err(Error::Encode { what });
        }
        let vectors = pooled.chunks_exact(inputs).map(|row| self.head.finish(row));
        vectors.collect()
    }

    /// A session for a batch; `alone` if its call has no other.
    fn lend(&self, alone: bool) -> Result<Lent<'_>> {
        if self.runs.fetch_add(1, Ordering::Relaxed) < self.shape.mapped_runs {
            return self.mapped.lend(|| self.open_session(false, 1));
        }
        let threads = self.shape.wide_threads;
        if alone && threads > 1 && self.running.load(Ordering::Relaxed) == 1 {
            return self.wide.lend(|| self.open_session(true, threads));
        }
        self.packed.lend(|| self.open_session(true, 1))
    }

    fn open_session(&self, repacked: bool, threads: usize) -> Result<Session> {
        let shared = repacked.then(|| self.shared()).transpose()?;
        let shared = shared
            .as_ref()
            .map(|shared| (&shared.packed, &shared.values));
        self.network
            .session(&self.runtime, &self.provider, threads, shared)
    }

    fn shared(&self) -> Result<Arc<Shared>> {
        let mut shared = lock(&self.shared);
        if let Some(shared) = &*shared {
            return Ok(Arc::clone(shared));
        }
        let made = Arc::new(Shared {
            values: self.network.shared_values()?,
            packed: Packed::new(&self.runtime),
        });
        Ok(Arc::clone(shared.insert(made)))
    }
}

/// Counts a batch as running until it is dropped.
struct Running<'a>(&'a AtomicUsize);

impl<'a> Running<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Sessions of one kind, at most `limit`.
struct Sessions {
    limit: usize,
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    idle: Vec<Session>,
    /// Sessions that exist, lent ones included.
    made: usize,
}

impl Sessions {
    fn new(limit: usize, first: Option<Session>) -> Self {
        let idle = Vec::from_iter(first);
        let state = Mutex::new(State {
            made: idle.len(),
            idle,
        });
        Self {
            limit,
            state,
            returned: Condvar::new(),
        }
    }

    /// Lends an idle session, or a new one by `open`; waits when all are at work.
    fn lend(&self, open: impl FnOnce() -> Result<Session>) -> Result<Lent<'_>> {
        let mut state = lock(&self.state);
        loop {
            if let Some(session) = state.idle.pop() {
                return Ok(Lent {
                    sessions: self,
                    session: Some(session),
                });
            }
            if state.made < self.limit {
                // Opened under the lock: the first session repacks the weights that the others share.
                let session = open()?;
                state.made += 1;
                return Ok(Lent {
                    sessions: self,
                    session: Some(session),
                });
            }
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A session that goes back when it is dropped, in whatever way the work ends.
struct Lent<'a> {
    sessions: &'a Sessions,
    /// `None` only while it is dropped.
    session: Option<Session>,
}

impl Lent<'_> {
    fn run<T>(&mut self, work: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
        work(
            self.session
                .as_mut()
                .expect("a lent session is there until it is dropped"),
        )
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        lock(&self.sessions.state).idle.extend(self.session.take());
        self.sessions.returned.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
