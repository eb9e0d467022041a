//! Batches → vectors, on as many sessions as there are threads.
//!
//! A session runs one batch at a time on one thread. The first session is cheap to open and serves a first few single
//! batches, so a command that asks one question starts quickly; sessions with repacked weights are made when there is
//! more to do.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::batch::{Padded, Plan};
use super::export::Export;
use super::session::{Runtime, Session, SharedWeights};
use super::weights::Weights;
use crate::error::{Error, Result};

/// Batches that run on the quick session before sessions with repacked weights pay off.
const QUICK_RUNS: usize = 16;

/// A batch's number and its vectors, `[rows, dimension]`.
type Part = (usize, Vec<f32>);

/// Runs batches; may be called from many threads at once.
pub(super) struct Pool {
    runtime: Runtime,
    export: Export,
    weights: Arc<Weights>,
    folder: PathBuf,
    dimension: usize,
    threads: usize,
    quick: Mutex<Session>,
    quick_runs: AtomicUsize,
    workers: Mutex<Workers>,
    returned: Condvar,
}

/// Sessions with repacked weights, made as they are needed.
#[derive(Default)]
struct Workers {
    shared: Option<SharedWeights>,
    idle: Vec<Session>,
    made: usize,
}

impl Pool {
    pub fn open(
        runtime: Runtime,
        export: Export,
        weights: Arc<Weights>,
        dimension: usize,
        threads: usize,
    ) -> Result<Self> {
        let folder = weights.parent().to_path_buf();
        let quick = Mutex::new(Session::open(&runtime, &export.graph, &folder, None)?);
        Ok(Self {
            runtime,
            export,
            weights,
            folder,
            dimension,
            threads: threads.max(1),
            quick,
            quick_runs: AtomicUsize::new(0),
            workers: Mutex::default(),
            returned: Condvar::new(),
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
        if self.quick_runs.fetch_add(1, Ordering::Relaxed) < QUICK_RUNS {
            return self.run_batch(&mut lock(&self.quick), plan, batch);
        }
        self.with_worker(|session| self.run_batch(session, plan, batch))
    }

    fn run_many(&self, plan: &Plan<'_>, batches: &[Range<usize>]) -> Result<Vec<Vec<f32>>> {
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<Part>> {
            self.with_worker(|session| {
                let mut done = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(batch) = batches.get(at) else {
                        return Ok(done);
                    };
                    done.push((at, self.run_batch(session, plan, batch)?));
                }
            })
        };
        let helpers = self.threads.min(batches.len()) - 1;
        let results: Vec<Result<Vec<Part>>> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
            let own = work();
            let joined = handles.into_iter().map(|handle| {
                handle.join().unwrap_or_else(|_| {
                    Err(Error::Encode {
                        what: "a worker thread panicked".into(),
                    })
                })
            });
            std::iter::once(own).chain(joined).collect()
        });
        let mut parts = vec![Vec::new(); batches.len()];
        for result in results {
            for (at, vectors) in result? {
                parts[at] = vectors;
            }
        }
        Ok(parts)
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

    /// Lends a session; waits for one when all are at work.
    fn with_worker<T>(&self, work: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
        let session = self.take_worker()?;
        let mut lent = Lent {
            pool: self,
            session: Some(session),
        };
        match &mut lent.session {
            Some(session) => work(session),
            None => unreachable!("a lent session is taken back on drop only"),
        }
    }

    fn take_worker(&self) -> Result<Session> {
        let mut workers = lock(&self.workers);
        loop {
            if let Some(session) = workers.idle.pop() {
                return Ok(session);
            }
            if workers.made < self.threads {
                // Made under the lock: the first maker repacks the weights for all.
                let session = self.make_worker(&mut workers)?;
                workers.made += 1;
                return Ok(session);
            }
            workers = self
                .returned
                .wait(workers)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn make_worker(&self, workers: &mut Workers) -> Result<Session> {
        if workers.shared.is_none() {
            let mut shared = SharedWeights::new(&self.runtime);
            for matrix in &self.export.matrices {
                shared.add(
                    &matrix.name,
                    &matrix.shape,
                    self.weights.values(matrix.place),
                )?;
            }
            workers.shared = Some(shared);
        }
        Session::open(
            &self.runtime,
            &self.export.graph,
            &self.folder,
            workers.shared.as_ref(),
        )
    }
}

/// Gives the session back when the work ends, in whatever way.
struct Lent<'a> {
    pool: &'a Pool,
    session: Option<Session>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        lock(&self.pool.workers).idle.extend(self.session.take());
        self.pool.returned.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
