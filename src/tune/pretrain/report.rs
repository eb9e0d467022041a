//! What is told of a pre-training.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::run::mean;
use crate::encoder::Fresh;
use crate::encoder::trunk::Judged;
use crate::tune::gate::Interval;
use crate::tune::report::{HEAD, Verdict, escaped, loss_plot};
use crate::tune::train::Course;

/// How held-out guesses went, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Guesses {
    /// How many there were.
    pub asked: usize,
    /// Mean cross-entropy, in nats; over the documents, each the mean of its own.
    pub loss: [f64; 2],
    /// The part that was right.
    pub right: [f64; 2],
}

impl Guesses {
    pub(super) fn new(before: &[[Judged; 2]], after: &[[Judged; 2]], nth: usize) -> Self {
        let loss = |judged: &[[Judged; 2]]| mean(judged.iter().map(|j| j[nth].mean()));
        let sum = |judged: &[[Judged; 2]]| {
            let mut all = Judged::default();
            judged.iter().for_each(|judged| all += judged[nth]);
            all
        };
        let right = |judged: &[[Judged; 2]]| {
            let all = sum(judged);
            all.right / all.asked.max(1) as f64
        };
        Self {
            asked: sum(after).asked,
            loss: [loss(before), loss(after)],
            right: [right(before), right(after)],
        }
    }
}

/// What a pre-training came to.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Pretrained {
    /// The model that it went on from.
    pub model: String,
    /// The shape of the new network, if it was one.
    pub from_scratch: Option<Fresh>,
    /// The new encoder's fingerprint, if it was accepted.
    pub fingerprint: Option<String>,
    /// What chance was drawn from.
    pub seed: u64,
    /// Documents that were learnt from.
    pub documents: usize,
    /// Documents that were held out.
    pub held_out: usize,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Numbers that were trained.
    pub weights: usize,
    /// Texts of an epoch.
    pub texts: usize,
    /// How often each document was to be read.
    pub epochs: usize,
    /// Texts of a step.
    pub batch: usize,
    /// The highest learning rate.
    pub learning_rate: f32,
    /// How the training went.
    pub course: Course,
    /// Held-out words that were guessed.
    pub words: Guesses,
    /// Held-out pairs of which it was guessed whether the second follows on the first.
    pub pairs: Option<Guesses>,
    /// The loss of words if each is as likely as it is frequent.
    pub frequency: f64,
    /// By how much the loss of words is less than before, or than that, whichever is better.
    pub gain: Interval,
    /// What follows.
    pub verdict: Verdict,
    /// How long all of it took.
    pub seconds: f64,
}

impl Pretrained {
    /// One JSON object, indented.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// A page that needs nothing else.
    pub fn to_html(&self) -> String {
        let mut page = String::from(HEAD);
        // Writing to a string cannot fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> fmt::Result {
        let (class, word) = match self.verdict {
            Verdict::Accepted => ("accepted", "Accepted"),
            Verdict::Refused(_) => ("refused", "Refused"),
        };
        let of = match self.from_scratch {
            Some(_) => "a new network".into(),
            None => escaped(&self.model),
        };
        write!(
            page,
            "<h1>Pre-training of {of}: <span class={class}>{word}</span></h1>"
        )?;
        if let Verdict::Refused(why) = &self.verdict {
            write!(page, "<p>{}.</p>", escaped(why))?;
        }
        write!(
            page,
            "<h2>Held-out documents</h2><table><tr><th></th><th>asked</th><th>loss before</th><th>after</th><th>right before</th>\
             <th>after</th></tr>"
        )?;
        let pairs = self.pairs.map(|pairs| ("does it follow?", pairs));
        for (name, guesses) in [("words", self.words)].into_iter().chain(pairs) {
            let Guesses { asked, loss, right } = guesses;
            write!(
                page,
                "<tr><td>{name}</td><td>{asked}</td><td>{:.3}</td><td>{:.3}</td><td>{:.1} %</td><td>{:.1} %</td></tr>",
                loss[0],
                loss[1],
                100.0 * right[0],
                100.0 * right[1]
            )?;
        }
        let Interval { mean, low, high } = self.gain;
        write!(
            page,
            "</table><p>By how frequent words are, the loss is {:.3}. It is less by {mean:.3} ({low:.3} to {high:.3}) than the \
             better of what there was before.</p>",
            self.frequency
        )?;
        write!(
            page,
            "<h2>How</h2><p>{} documents to learn from, {} held out; {} texts an epoch, {} epochs, {} texts a step; learning rate {}; \
             {} tokens in the vocabulary, {} weights; {} steps over {} tokens in {:.0} s; seed {}.</p>",
            self.documents,
            self.held_out,
            self.texts,
            self.epochs,
            self.batch,
            self.learning_rate,
            self.vocabulary,
            self.weights,
            self.course.steps,
            self.course.tokens,
            self.course.seconds,
            self.seed
        )?;
        if let Some(why) = &self.course.stopped {
            write!(page, "<p>Training ended early: {}.</p>", escaped(why))?;
        }
        loss_plot(page, &self.course)
    }
}
