//! `vecdb pretrain`: a language from texts alone.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use vecdb::encoder::Fresh;
use vecdb::tune::{Guesses, Interval, Pretrained, Pretraining, Verdict};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Meter;
use crate::text;
use crate::tune;

pub const AFTER_HELP: &str = "\
For a language, or a field's own words, that no model knows. As the BERT paper has it, 15 of 100 words are to be guessed from \
those around them, and whether one text follows on another. --from-scratch makes a vocabulary of the documents and begins with a \
network that knows nothing; else training goes on from --model. Held-out documents tell whether it learnt anything; if not, only \
the report is written. Ctrl-C stops, and the same command goes on from there.

What comes out knows words in their context, and does not find answers yet: tune it next. A model that finds them already, as the \
default one does, mostly gets worse by this.

Examples:
  vecdb pretrain novels/ --from-scratch --out novels-model --budget 30m
  vecdb tune --documents novels/ --model novels-model --out tuned
  vecdb pretrain --db notes.vecdb --model bert-base --out notes-model

With --json, one object; of each of two, before and after:
  {\"accepted\": true, \"verdict\": \"accepted\",
   \"words\": {\"asked\": 5210, \"loss\": [9.1, 4.2], \"right\": [0.0, 0.31]},
   \"pairs\": {\"asked\": 420, \"loss\": [0.7, 0.4], \"right\": [0.5, 0.8]},
   \"frequency\": 6.4, \"gain\": {\"mean\": 2.2, \"low\": 2.1, \"high\": 2.3},
   \"model\": \"novels-model\", \"seconds\": 1800.5}
  loss: in nats; frequency: of words by how frequent they are
  gain: by how much the loss is less than the better of what there was

Exit codes: 0 accepted, 1 refused, 2 error, 130 ended by a signal.";

/// What is read, and how.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The documents, a file or a folder; else the collection of --db
    #[arg(value_name = "PATH")]
    pub documents: Option<PathBuf>,
    /// Where the new model goes, a new folder
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Begin with a new network and a new vocabulary
    #[arg(long)]
    pub from_scratch: bool,
    /// Words and pieces of words in the new vocabulary, at most
    #[arg(long, value_name = "N", default_value_t = Fresh::default().vocabulary, requires = "from_scratch")]
    pub vocabulary: usize,
    /// Layers of the new network
    #[arg(long, value_name = "N", default_value_t = Fresh::default().layers, requires = "from_scratch")]
    pub layers: usize,
    /// Components of the new network's vectors
    #[arg(long, value_name = "N", default_value_t = Fresh::default().hidden, requires = "from_scratch")]
    pub hidden: usize,
    /// Heads of its attention; --hidden is a multiple of it
    #[arg(long, value_name = "N", default_value_t = Fresh::default().heads, requires = "from_scratch")]
    pub heads: usize,
    /// The new vocabulary tells upper and lower case apart
    #[arg(long, requires = "from_scratch")]
    pub cased: bool,
    /// How often each document is read [default: 3, 20 from scratch]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Texts of a step
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub batch: u32,
    /// Tokens of a text
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..))]
    pub length: u32,
    /// The highest learning rate [default: 5e-5, 1e-3 from scratch]
    #[arg(long, value_name = "RATE", value_parser = tune::rate)]
    pub learning_rate: Option<f32>,
    /// How likely numbers inside are dropped while training
    #[arg(long, value_name = "RATE", default_value_t = 0.1, value_parser = tune::rate)]
    pub dropout: f32,
    /// What the loss of words counts, and that of pairs
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,1")]
    pub weights: Vec<f32>,
    /// What chance is drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Training ends after that time (10m, 2h, 90s)
    #[arg(long, value_name = "TIME", value_parser = tune::time)]
    pub budget: Option<Duration>,
}

#[derive(Serialize)]
struct PretrainedObject<'a> {
    accepted: bool,
    verdict: String,
    words: Guesses,
    pairs: Option<Guesses>,
    frequency: f64,
    gain: Interval,
    model: Option<&'a PathBuf>,
    seconds: f64,
}

/// Reads, trains, judges and tells.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let (documents, options) = match &arguments.documents {
        Some(path) => (tune::read(path)?, global.encoder_options()),
        None => {
            let collection = global.collection_for_reading()?;
            let documents = collection.documents().collect::<Result<_, _>>()?;
            (documents, global.encoder_options_for(&collection)?)
        }
    };
    let weights = match arguments.weights[..] {
        [words, pairs] => [words, pairs],
        _ => return Err(Failure::Usage("--weights takes two numbers".into())),
    };
    let interrupt = Interrupt::listen()?;
    let mut meter = Meter::start(0, output);
    let mut pretraining = Pretraining::default()
        .batch(arguments.batch as usize)
        .length(arguments.length as usize)
        .dropout(arguments.dropout)
        .weights(weights[0], weights[1])
        .seed(arguments.seed)
        .progress(|progress| {
            meter.update(progress.done, progress.total, tune::words(progress));
            interrupt.flow()
        });
    if arguments.from_scratch {
        pretraining = pretraining.from_scratch(Fresh {
            vocabulary: arguments.vocabulary,
            layers: arguments.layers,
            hidden: arguments.hidden,
            heads: arguments.heads,
            lower_case: !arguments.cased,
            ..Fresh::default()
        });
    }
    if let Some(epochs) = arguments.epochs {
        pretraining = pretraining.epochs(epochs as usize);
    }
    if let Some(rate) = arguments.learning_rate {
        pretraining = pretraining.learning_rate(rate);
    }
    if let Some(time) = arguments.budget {
        pretraining = pretraining.budget(time);
    }
    let made = pretraining.run(&options, &documents, &arguments.out)?;
    meter.finish();
    print(&made, arguments, output)?;
    Ok(Outcome::found(made.verdict == Verdict::Accepted))
}

fn print(made: &Pretrained, arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let accepted = made.verdict == Verdict::Accepted;
    if output.json {
        output.object(&PretrainedObject {
            accepted,
            verdict: made.verdict.to_string(),
            words: made.words,
            pairs: made.pairs,
            frequency: made.frequency,
            gain: made.gain,
            model: accepted.then_some(&arguments.out),
            seconds: made.seconds,
        })?;
        return Ok(());
    }
    let pairs = made.pairs.map(|pairs| ("pairs", pairs));
    for (name, Guesses { loss, right, .. }) in [("words", made.words)].into_iter().chain(pairs) {
        output.line(format_args!(
            "{name:<6} {:.1} → {} % right, loss {:.3} → {:.3}",
            100.0 * right[0],
            output.accent(&format!("{:.1}", 100.0 * right[1])),
            loss[0],
            loss[1]
        ))?;
    }
    output.line(format_args!("{}", made.verdict))?;
    if let Some(why) = &made.course.stopped {
        output.note(format_args!("training ended early: {why}"));
    }
    let out = arguments.out.display();
    match accepted {
        true => output.note(format_args!(
            "the new model is {out}; teach it to find by `vecdb tune --model {out}`. {out}/pretraining.html tells how it went"
        )),
        false => output.note(format_args!(
            "nothing was changed; {out}/pretraining.html tells how it went"
        )),
    }
    output.note(format_args!(
        "{} documents learnt from, {} held out, {} in all",
        text::grouped(made.documents as u64),
        text::grouped(made.held_out as u64),
        text::duration(Duration::from_secs_f64(made.seconds))
    ));
    Ok(())
}
