//! `vecdb read-documents`: what `vecdb ingest` starts to read documents with, so that one that harms its reader harms nothing
//! else.

use std::io;

use clap::Args;

use crate::failure::{Failure, Outcome};

/// How much it may take.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Memory, in bytes
    #[arg(long, value_name = "BYTES")]
    pub memory: u64,
}

/// Reads what stdin asks for, until it ends.
pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    // Where the system has no such limit the time alone is bounded.
    let _ = bound(arguments.memory);
    vecdb::ingest::serve(io::stdin().lock(), io::stdout().lock())?;
    Ok(Outcome::Done)
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
