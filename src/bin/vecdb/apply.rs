//! `vecdb tune --apply`, `--rollback`, `--forget`: which encoder a collection is asked by.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use vecdb::{BatchOptions, Collection, Error, Reembedded};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Meter;
use crate::stats::EncoderObject;
use crate::text;

/// What becomes of the collection.
#[derive(Args, Debug)]
#[group(id = "version", multiple = false, conflicts_with_all = ["folder", "pairs", "documents", "questions", "out"])]
pub struct Arguments {
    /// Encodes the collection of --db anew by this model, and uses it from then on
    #[arg(long, value_name = "MODEL")]
    pub apply: Option<PathBuf>,
    /// Returns to the model, and the vectors, that the last --apply replaced
    #[arg(long)]
    pub rollback: bool,
    /// Frees the space of the vectors that --rollback would return to
    #[arg(long)]
    pub forget: bool,
}

#[derive(Serialize)]
struct AppliedObject<'a> {
    collection: &'a str,
    from: EncoderObject<'a>,
    to: EncoderObject<'a>,
    documents: u64,
    passages: u64,
    deleted: u64,
    seconds: f64,
}

#[derive(Serialize)]
struct ForgottenObject<'a> {
    collection: &'a str,
    bytes: u64,
}

/// Does what is given.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let database = global.open_for_writing()?;
    let collection = database.existing_collection(global.collection_name())?;
    if arguments.forget {
        let info = collection.info();
        let any = info.before.is_some() || info.next.is_some();
        let bytes = collection.forget_versions()?;
        if output.json {
            output.object(&ForgottenObject {
                collection: collection.name(),
                bytes,
            })?;
        }
        output.note(match any {
            false => "there was nothing to forget".to_owned(),
            true => format!("{} freed", text::bytes(bytes)),
        });
        return Ok(Outcome::found(true));
    }
    let interrupt = Interrupt::listen()?;
    let mut meter = Meter::start(0, output);
    // Of these, what an interrupted call or an earlier version has is done.
    let total = collection.len();
    let options = BatchOptions::default().progress(|progress| {
        let words = format!(
            "{}, {}",
            text::count(progress.documents, "document"),
            text::count(progress.passages, "passage")
        );
        meter.update(progress.documents, total, words);
        interrupt.flow()
    });
    let made = match &arguments.apply {
        Some(model) => collection.reembed(model, options),
        None => collection.roll_back(options),
    };
    meter.finish();
    let interrupted = matches!(made, Err(Error::Cancelled));
    if interrupted {
        database.close()?;
        output.note("stopped; nothing has changed yet, and the same command goes on from there");
        return Ok(Outcome::unless_interrupted(true));
    }
    let made = made?;
    database.flush()?;
    print(&collection, &made, meter.elapsed().as_secs_f64(), output)?;
    database.close()?;
    Ok(Outcome::found(true))
}

fn print(
    collection: &Collection,
    made: &Reembedded,
    seconds: f64,
    output: &mut Output,
) -> Result<(), Failure> {
    let encoded = made.added.added + made.added.updated;
    if output.json {
        output.object(&AppliedObject {
            collection: collection.name(),
            from: EncoderObject::of(&made.from),
            to: EncoderObject::of(&made.to),
            documents: encoded,
            passages: made.added.passages,
            deleted: made.deleted,
            seconds,
        })?;
    }
    if made.from == made.to {
        output.note(format_args!(
            "{} is by {} already",
            text::plain(collection.name()),
            text::plain(&made.to.0)
        ));
        return Ok(());
    }
    output.note(format_args!(
        "{} is now by {}, and was by {}; {} encoded in {}",
        text::plain(collection.name()),
        text::plain(&made.to.0),
        text::plain(&made.from.0),
        text::count(encoded, "document"),
        text::duration(std::time::Duration::from_secs_f64(seconds))
    ));
    if let Some(before) = collection.info().before {
        output.note(format_args!(
            "`vecdb tune --rollback` returns to that, and `vecdb tune --forget` frees its {}",
            text::bytes(before.bytes)
        ));
    }
    Ok(())
}
