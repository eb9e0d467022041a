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
//! A GPU has one session; while it runs a batch, another thread pads the next.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::batch::{Padded, Plan};
use super::device::{Provider, Shape};
use super::export::Export;
use super::session::{Place, Runtime, Session, SharedWeights};
use super::weights::Weights;
use super::workers;
use crate::error::{Error, Result};

/// Batches that run on mapped sessions before repacking pays off.
const MAPPED_RUNS: usize = 16;

/// Runs batches; may be called from many threads at once.
pub(super) struct Pool {
    runtime: Runtime,
    export: Export,
    weights: Arc<Weights>,
    dimension: usize,
    provider: Provider,
    shape: Shape,
    /// On a GPU the only ones.
    mapped: Sessions,
    packed: Sessions,
    wide: Sessions,
    shared: Mutex<Option<Arc<SharedWeights>>>,
    /// Batches that were begun.
    runs: AtomicUsize,
    /// Batches that run now.
    running: AtomicUsize,
}

impl Pool {
    /// Opens the first session, so that a graph that does not load is told here.
    pub fn open(
        runtime: Runtime,
        export: Export,
        weights: Arc<Weights>,
        dimension: usize,
        provider: Provider,
        threads: usize,
    ) -> Result<Self> {
        let shape = provider.shape(threads.max(1));
        let pool = Self {
            mapped: Sessions::new(shape.sessions),
            packed: Sessions::new(shape.sessions),
            wide: Sessions::new(1),
            runtime,
            export,
            weights,
            dimension,
            provider,
            shape,
            shared: Mutex::new(None),
            runs: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
        };
        drop(pool.mapped.lend(|| pool.open_session(None, 1))?);
        Ok(pool)
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// How batches are to be cut.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// A vector for each row of the plan, in the plan's order, as the model gives it.
    ///
    /// `rows_done` is told of each batch, from any thread, how many rows it had, and may end the work.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where `rows_done` ended it, [`Error::Encode`] where the runtime fails.
    pub fn run(
        &self,
        plan: &Plan<'_>,
        rows_done: &(dyn Fn(usize) -> ControlFlow<()> + Sync),
    ) -> Result<Vec<Vec<f32>>> {
        let parts = workers::run(
            self.shape.workers,
            plan.batches.len(),
            || Ok(()),
            |(), at| {
                let batch = &plan.batches[at];
                let alone = plan.batches.len() == 1;
                let vectors = self.run_batch(&Padded::new(&plan.rows[batch.clone()]), alone)?;
                match rows_done(batch.len()) {
                    ControlFlow::Continue(()) => Ok(vectors),
                    ControlFlow::Break(()) => Err(Error::Cancelled),
                }
            },
        )?;
        let vectors = parts
            .iter()
            .flat_map(|part| part.chunks_exact(self.dimension).map(<[f32]>::to_vec));
        Ok(vectors.collect())
    }

    fn run_batch(&self, padded: &Padded, alone: bool) -> Result<Vec<f32>> {
        let _running = Running::new(&self.running);
        let mut session = self.lend(alone)?;
        let mut out = Vec::with_capacity(padded.rows * self.dimension);
        session.run(|session| {
            session.run(
                &padded.ids,
                &padded.mask,
                padded.rows,
                padded.width,
                &mut out,
            )
        })?;
        if out.len() != padded.rows * self.dimension {
            let what = format!(
                "the model gave {} numbers for {} texts",
                out.len(),
                padded.rows
            );
            return Err(Error::Encode { what });
        }
        Ok(out)
    }

    /// A session for a batch; `alone` if its call has no other.
    fn lend(&self, alone: bool) -> Result<Lent<'_>> {
        let on_gpu = self.provider != Provider::Cpu;
        if on_gpu || self.runs.fetch_add(1, Ordering::Relaxed) < MAPPED_RUNS {
            return self.mapped.lend(|| self.open_session(None, 1));
        }
        let threads = self.shape.wide_threads;
        if alone && threads > 1 && self.running.load(Ordering::Relaxed) == 1 {
            let open = || self.open_session(Some(&*self.shared()?), threads);
            return self.wide.lend(open);
        }
        self.packed
            .lend(|| self.open_session(Some(&*self.shared()?), 1))
    }

    fn open_session(&self, shared: Option<&SharedWeights>, threads: usize) -> Result<Session> {
        let place = Place {
            provider: &self.provider,
            threads,
            shared,
        };
        let session = Session::open(
            &self.runtime,
            &self.export.graph,
            self.weights.parent(),
            &place,
        );
        // First, because other weights are also why a session may not open.
        self.weights.check_unchanged()?;
        session
    }

    /// The weights of matrix products on the heap, where packed sessions share them.
    fn shared(&self) -> Result<Arc<SharedWeights>> {
        let mut shared = lock(&self.shared);
        if let Some(shared) = &*shared {
            return Ok(Arc::clone(shared));
        }
        let mut made = SharedWeights::new(&self.runtime);
        for matrix in &self.export.matrices {
            made.add(
                &matrix.name,
                &matrix.shape,
                self.weights.values(matrix.place),
            )?;
        }
        Ok(Arc::clone(shared.insert(Arc::new(made))))
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
    fn new(limit: usize) -> Self {
        let state = Mutex::new(State {
            made: 0,
            idle: Vec::new(),
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
