//! Ctrl-C, SIGTERM and SIGHUP during an ingestion: the first asks for an orderly end, the second ends at once.

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;

/// Set by the first signal.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from here on. Before that, a signal ends the process as usual.
    pub fn listen() -> Result<Self, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&asked);
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::SeqCst) {
                // What was acknowledged is durable, so nothing is lost by leaving here.
                std::process::exit(130);
            }
            let _ = writeln!(
                io::stderr().lock(),
                "\nstopping after the batch in hand; once more stops at once"
            );
        })
        .map_err(|error| Failure::Usage(format!("cannot listen for signals: {error}")))?;
        Ok(Self(asked))
    }

    /// Has a signal come? As the callbacks of long calls say it.
    pub fn flow(&self) -> ControlFlow<()> {
        if self.0.load(Ordering::SeqCst) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
