//! `vecdb read-documents`: what `vecdb ingest` starts to read documents with, so that one that harms its reader harms nothing
//! else.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::failure::{Failure, Outcome};

/// How much it may take.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Memory, in bytes
    #[arg(long, value_name = "BYTES")]
    pub memory: u64,
    /// Time for one document, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub time: u64,
}

/// Reads what stdin asks for, until it ends.
pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    // Where the system has no such limit the time alone is bounded.
    let _ = bound(arguments.memory);
    let asked = Asked::default();
    end_when_too_long(asked.clone(), Duration::from_secs(arguments.time));
    let requests = Requests {
        stdin: io::stdin(),
        asked,
    };
    vecdb::ingest::serve(requests, io::stdout().lock())?;
    Ok(Outcome::Done)
}

/// When the document in hand was asked for.
type Asked = Arc<Mutex<Option<Instant>>>;

/// Knows whether something is asked for.
struct Requests {
    stdin: io::Stdin,
    asked: Asked,
}

impl Read for Requests {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let set = |asked| *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        set(None);
        let read = self.stdin.read(buffer);
        set(Some(Instant::now()));
        read
    }
}

/// Who asked ends this process when a document takes too long; but it may have been killed itself.
fn end_when_too_long(asked: Asked, time: Duration) {
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(1));
            let asked = *asked.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.is_some_and(|asked| asked.elapsed() > time) {
                std::process::exit(2);
            }
        }
    });
}

#[cfg(unix)]
fn bound(memory: u64) -> io::Result<()> {
    use rlimit::Resource;

    let (_, most) = Resource::AS.get()?;
    Resource::AS.set(memory.min(most), most)
}

#[cfg(not(unix))]
fn bound(_memory: u64) -> io::Result<()> {
    Ok(())
}
