//! Batches → vectors, on as many sessions as there are threads.
//!
//! A session runs one batch at a time on one thread. There are two kinds, opened as they are needed:
//!
//! - plain: uses the weights where they are mapped. Opens in a few milliseconds, takes no memory of its own, and runs
//!   full batches as fast as the other kind.
//! - repacked: takes longer to open, and runs a short query in about two thirds of the time. It serves single batches
//!   once there have been a few of them, so a command that asks one question does not pay for it.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::batch::{Padded, Plan};
use super::export::Export;
use super::session::{Runtime, Session, SharedWeights};
use super::weights::Weights;
use super::workers;
use crate::error::{Error, Result};

/// Single batches that run on a plain session before repacking pays off.
const PLAIN_RUNS: usize = 16;

/// Runs batches; may be called from many threads at once.
pub(super) struct Pool {
    runtime: Runtime,
    export: Export,
    weights: Arc<Weights>,
    dimension: usize,
    threads: usize,
    plain: Sessions,
    repacked: Sessions,
    shared: Mutex<Option<Arc<SharedWeights>>>,
    single_runs: AtomicUsize,
}

impl Pool {
    /// Opens the first plain session, so that a graph that does not load is told here.
    pub fn open(
        runtime: Runtime,
        export: Export,
        weights: Arc<Weights>,
        dimension: usize,
        threads: usize,
    ) -> Result<Self> {
        let threads = threads.max(1);
        let first = open_session(&runtime, &export, &weights, None)?;
        Ok(Self {
            plain: Sessions::new(threads, Some(first)),
            repacked: Sessions::new(threads, None),
            runtime,
            export,
            weights,
            dimension,
            threads,
            shared: Mutex::new(None),
            single_runs: AtomicUsize::new(0),
        })
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A vector for each row of the plan, in the plan's order, as the model gives it.
    pub fn run(&self, plan: &Plan<'_>) -> Result<Vec<Vec<f32>>> {
        let parts = match &plan.batches[..] {
            [] => Vec::new(),
            [batch] => vec![self.run_one(plan, batch)?],
            batches => self.run_many(plan, batches)?,
        };
        let vectors = parts
            .iter()
            .flat_map(|part| part.chunks_exact(self.dimension).map(<[f32]>::to_vec));
        Ok(vectors.collect())
    }

    fn run_one(&self, plan: &Plan<'_>, batch: &Range<usize>) -> Result<Vec<f32>> {
        let mut session = if self.single_runs.fetch_add(1, Ordering::Relaxed) < PLAIN_RUNS {
            self.plain.lend(|| self.open_session(None))?
        } else {
            self.repacked
                .lend(|| self.open_session(Some(&*self.shared()?)))?
        };
        session.run(|session| self.run_batch(session, plan, batch))
    }

    fn run_many(&self, plan: &Plan<'_>, batches: &[Range<usize>]) -> Result<Vec<Vec<f32>>> {
        workers::run(
            self.threads,
            batches.len(),
            || self.plain.lend(|| self.open_session(None)),
            |session, at| session.run(|session| self.run_batch(session, plan, &batches[at])),
        )
    }

    fn run_batch(
        &self,
        session: &mut Session,
        plan: &Plan<'_>,
        batch: &Range<usize>,
    ) -> Result<Vec<f32>> {
        let padded = Padded::new(&plan.rows[batch.clone()]);
        let mut out = Vec::with_capacity(padded.rows * self.dimension);
        session.run(
            &padded.ids,
            &padded.mask,
            padded.rows,
            padded.width,
            &mut out,
        )?;
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

    fn open_session(&self, shared: Option<&SharedWeights>) -> Result<Session> {
        open_session(&self.runtime, &self.export, &self.weights, shared)
    }

    /// The weights of matrix products on the heap, where repacked sessions share them.
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

/// Opens a session over the weights that the pool stands for, and no others.
fn open_session(
    runtime: &Runtime,
    export: &Export,
    weights: &Weights,
    shared: Option<&SharedWeights>,
) -> Result<Session> {
    let session = Session::open(runtime, &export.graph, weights.parent(), shared);
    // First, because other weights are also why a session may not open.
    weights.check_unchanged()?;
    session
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
