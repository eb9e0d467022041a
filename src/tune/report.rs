//! What is told of a tuning: as JSON, and as a page with plots.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::data::Example;
use super::gate::Interval;
use super::train::Course;

/// Queries that the page lists at either end.
const LISTED: usize = 10;
/// Of a plot, in pixels.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 200.0;

/// Is the new encoder better?
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Beyond chance, and it forgot little.
    Accepted,
    /// No; why.
    Refused(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

/// How much there was of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Sizes {
    /// Documents that can be found.
    pub documents: usize,
    /// Queries learnt from.
    pub train: usize,
    /// Queries that chose how far to go.
    pub development: usize,
    /// Queries held out.
    pub test: usize,
    /// Queries not learnt from, because a held-out one is the same or has the same answer.
    pub left_out: usize,
}

/// Weights between the old and the new, tried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// Part of the way, 0 for the old ones and 1 for the new.
    pub part: f32,
    /// nDCG@10 of the development queries, over a part of the documents.
    pub ndcg: f64,
    /// The general measure, in points.
    pub general: f64,
}

/// A method that was tried.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Attempt {
    /// What was trained.
    pub method: String,
    /// How often each query was to be trained on.
    pub epochs: usize,
    /// The highest learning rate.
    pub learning_rate: f32,
    /// How the training went.
    pub course: Course,
    /// Weights between the old and the new ones that the development queries were asked of.
    pub tried: Vec<Step>,
    /// The best of them, if one was better than where it began.
    pub best: Option<Step>,
}

/// The held-out queries, asked of both encoders.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Test {
    /// Mean nDCG@10, old and new.
    pub ndcg: [f64; 2],
    /// Its gain.
    pub gain: Interval,
    /// Mean Recall@100, old and new.
    pub recall: [f64; 2],
    /// Its gain.
    pub recall_gain: Interval,
    /// Of each query: its id, and nDCG@10, old and new.
    pub queries: Vec<(String, f64, f64)>,
    #[serde(skip)]
    texts: Vec<String>,
}

/// What was not to be forgotten.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct General {
    /// What was measured.
    pub measure: String,
    /// Points that may be lost.
    pub allowed: f64,
    /// In points, 0 to 100, before.
    pub old: f64,
    /// And after.
    pub new: f64,
}

/// What a tuning came to.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The model that was tuned.
    pub model: String,
    /// Its encoder's fingerprint.
    pub fingerprint: String,
    /// The new one's, if there was one to be tested.
    pub tuned: Option<String>,
    /// What chance was drawn from.
    pub seed: u64,
    /// Queries of a step.
    pub batch: usize,
    /// Mined negatives of each query.
    pub negatives: usize,
    /// How much there was.
    pub sizes: Sizes,
    /// What was tried, in order.
    pub attempts: Vec<Attempt>,
    /// Which of them was best for the development queries, and went to the test.
    pub chosen: Option<usize>,
    /// The held-out queries.
    pub test: Option<Test>,
    /// What was not to be forgotten.
    pub general: Option<General>,
    /// What follows.
    pub verdict: Verdict,
    /// How long all of it took.
    pub seconds: f64,
}

impl Test {
    pub(super) fn new(
        asked: &[&Example],
        old: &[[f64; 2]],
        new: &[[f64; 2]],
        interval: impl Fn(&[f64], &[f64]) -> Interval,
    ) -> Self {
        let column = |values: &[[f64; 2]], at: usize| -> Vec<f64> {
            values.iter().map(|value| value[at]).collect()
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let [(old_ndcg, new_ndcg), (old_recall, new_recall)] =
            [0, 1].map(|at| (column(old, at), column(new, at)));
        let queries = asked.iter().zip(old_ndcg.iter().zip(&new_ndcg));
        Self {
            ndcg: [mean(&old_ndcg), mean(&new_ndcg)],
            gain: interval(&old_ndcg, &new_ndcg),
            recall: [mean(&old_recall), mean(&new_recall)],
            recall_gain: interval(&old_recall, &new_recall),
            queries: queries
                .map(|(example, (old, new))| (example.id.clone(), *old, *new))
                .collect(),
            texts: asked.iter().map(|example| example.query.clone()).collect(),
        }
    }
}

impl Report {
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
        write!(
            page,
            "<h1>Tuning of {}: <span class={class}>{word}</span></h1>",
            escaped(&self.model)
        )?;
        if let Verdict::Refused(why) = &self.verdict {
            write!(page, "<p>{}.</p>", escaped(why))?;
        }
        if let Some(test) = &self.test {
            write!(
                page,
                "<h2>Held-out queries</h2><table><tr><th></th><th>before</th><th>after</th><th>gain</th><th>95 % interval</th></tr>"
            )?;
            for (name, [old, new], gain) in [
                ("nDCG@10", test.ndcg, test.gain),
                ("Recall@100", test.recall, test.recall_gain),
            ] {
                write!(
                    page,
                    "<tr><td>{name}</td><td>{old:.4}</td><td>{new:.4}</td><td>{:+.4}</td><td>{:+.4} to {:+.4}</td></tr>",
                    gain.mean, gain.low, gain.high
                )?;
            }
            write!(page, "</table>")?;
            interval_plot(page, test.gain)?;
            gains_plot(page, test)?;
            listed(page, test)?;
        }
        if let Some(General {
            measure,
            allowed,
            old,
            new,
        }) = &self.general
        {
            write!(
                page,
                "<h2>General language</h2><p>{}: {old:.1} points before, {new:.1} after; {allowed:.0} may be lost.</p>",
                escaped(measure)
            )?;
        }
        for (at, attempt) in self.attempts.iter().enumerate() {
            attempt.write(page, self.chosen == Some(at))?;
        }
        let Sizes {
            documents,
            train,
            development,
            test,
            left_out,
        } = self.sizes;
        write!(
            page,
            "<h2>How</h2><p>{documents} documents; {train} queries to learn from, {development} for development, {test} held out, \
             {left_out} left out because a held-out query is the same or has the same answer. No query or answer is in two parts.</p>\
             <p>{} queries a step with {} mined negatives each, seed {}; {:.1} minutes in all.</p>",
            self.batch,
            self.negatives,
            self.seed,
            self.seconds / 60.0
        )?;
        write!(page, "<p>Encoder {}", self.fingerprint)?;
        if let Some(tuned) = &self.tuned {
            write!(page, ", tuned {tuned}")?;
        }
        write!(page, ".</p>")
    }
}

impl Attempt {
    fn write(&self, page: &mut String, chosen: bool) -> fmt::Result {
        let Course {
            steps,
            tokens,
            seconds,
            ..
        } = self.course;
        write!(
            page,
            "<h2>Method {}{}</h2><p>Epochs: {}; learning rate {}; {steps} steps over {tokens} tokens in {seconds:.0} s.</p>",
            self.method,
            if chosen { ", chosen" } else { "" },
            self.epochs,
            self.learning_rate
        )?;
        if let Some(why) = &self.course.stopped {
            write!(page, "<p>Training ended early: {}.</p>", escaped(why))?;
        }
        write!(
            page,
            "<table><tr><th>part of the way</th><th>nDCG@10, development</th><th>general, points</th></tr>"
        )?;
        for step in &self.tried {
            let best = if self.best == Some(*step) {
                " class=chosen"
            } else {
                ""
            };
            write!(
                page,
                "<tr{best}><td>{}</td><td>{:.4}</td><td>{:.1}</td></tr>",
                step.part, step.ndcg, step.general
            )?;
        }
        write!(page, "</table>")?;
        loss_plot(page, &self.course)
    }
}

pub(super) const HEAD: &str = "<!doctype html><meta charset=utf-8><title>Tuning</title><style>\
body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse}td,th{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #ddd}\
td:first-child{text-align:left}.accepted{color:#176f2c}.refused{color:#a40e26}.chosen{font-weight:bold}\
svg{display:block;max-width:100%;background:#fafafa;margin:.5rem 0}text{font-size:12px;fill:#555}</style>";

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn line(page: &mut String, [x1, y1, x2, y2]: [f64; 4], colour: &str) -> fmt::Result {
    write!(
        page,
        "<line x1={x1:.1} y1={y1:.1} x2={x2:.1} y2={y2:.1} stroke='{colour}'/>"
    )
}

fn label(page: &mut String, x: f64, y: f64, text: &str) -> fmt::Result {
    write!(page, "<text x={x:.1} y={y:.1}>{text}</text>")
}

fn begin(page: &mut String, what: &str, height: f64) -> fmt::Result {
    write!(
        page,
        "<h3>{what}</h3><svg viewBox='0 0 {WIDTH} {height}' role=img aria-label='{what}'>"
    )
}

/// The mean gain within its interval, and zero.
fn interval_plot(page: &mut String, gain: Interval) -> fmt::Result {
    let (low, high) = (gain.low.min(0.0), gain.high.max(0.0));
    let x = |value: f64| 40.0 + (value - low) / (high - low).max(1e-9) * (WIDTH - 120.0);
    begin(page, "Gain of nDCG@10 with its interval", 60.0)?;
    line(page, [x(0.0), 5.0, x(0.0), 45.0], "#999")?;
    label(page, x(0.0) - 3.0, 58.0, "0")?;
    line(page, [x(gain.low), 25.0, x(gain.high), 25.0], "#1f5fa8")?;
    for end in [gain.low, gain.high] {
        line(page, [x(end), 18.0, x(end), 32.0], "#1f5fa8")?;
        label(page, x(end) - 15.0, 45.0, &format!("{end:+.3}"))?;
    }
    write!(
        page,
        "<circle cx={:.1} cy=25 r=5 fill='#1f5fa8'/></svg>",
        x(gain.mean)
    )
}

/// Each query's gain, from the greatest to the greatest loss.
fn gains_plot(page: &mut String, test: &Test) -> fmt::Result {
    let mut gains: Vec<f64> = test.queries.iter().map(|(_, old, new)| new - old).collect();
    gains.sort_by(|a, b| b.total_cmp(a));
    let won = gains.iter().filter(|gain| **gain > 1e-9).count();
    let lost = gains.iter().filter(|gain| **gain < -1e-9).count();
    let what = format!(
        "Gain of each query: {won} better, {lost} worse, {} as before",
        gains.len() - won - lost
    );
    begin(page, &what, HEIGHT)?;
    let middle = HEIGHT / 2.0;
    let y = |gain: f64| middle - gain * (middle - 10.0);
    line(page, [30.0, middle, WIDTH, middle], "#999")?;
    for value in [1.0, -1.0] {
        label(page, 2.0, y(value) + 4.0, &format!("{value:+}"))?;
    }
    let step = (WIDTH - 30.0) / gains.len().max(1) as f64;
    write!(page, "<path fill='#1f5fa8' d='M30 {middle:.1}")?;
    for (at, gain) in gains.iter().enumerate() {
        write!(
            page,
            "V{:.1}H{:.1}",
            y(*gain),
            30.0 + step * (at + 1) as f64
        )?;
    }
    write!(page, "V{middle:.1}Z'/></svg>")
}

/// The queries that won and lost most.
fn listed(page: &mut String, test: &Test) -> fmt::Result {
    let mut order: Vec<usize> = (0..test.queries.len()).collect();
    let gain = |at: &usize| test.queries[*at].2 - test.queries[*at].1;
    order.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
    let best: Vec<usize> = order
        .iter()
        .copied()
        .filter(|at| gain(at) > 1e-9)
        .take(LISTED)
        .collect();
    let worst: Vec<usize> = order
        .iter()
        .rev()
        .copied()
        .filter(|at| gain(at) < -1e-9)
        .take(LISTED)
        .collect();
    for (what, list) in [("Won most", best), ("Lost most", worst)] {
        if list.is_empty() {
            continue;
        }
        write!(
            page,
            "<h3>{what}</h3><table><tr><th>query</th><th>before</th><th>after</th></tr>"
        )?;
        for at in list {
            let (_, old, new) = &test.queries[at];
            let text: String = test.texts[at].chars().take(100).collect();
            write!(
                page,
                "<tr><td>{}</td><td>{old:.2}</td><td>{new:.2}</td></tr>",
                escaped(&text)
            )?;
        }
        write!(page, "</table>")?;
    }
    Ok(())
}

/// The loss over the steps.
pub(super) fn loss_plot(page: &mut String, course: &Course) -> fmt::Result {
    let Some(highest) = course
        .losses
        .iter()
        .map(|(_, loss)| f64::from(*loss))
        .reduce(f64::max)
    else {
        return Ok(());
    };
    begin(page, "Loss of training", HEIGHT)?;
    let steps = course.steps.max(1) as f64;
    let x = |step: usize| 40.0 + step as f64 / steps * (WIDTH - 60.0);
    let y = |loss: f64| HEIGHT - 20.0 - loss / highest.max(1e-9) * (HEIGHT - 40.0);
    line(page, [40.0, y(0.0), WIDTH - 20.0, y(0.0)], "#999")?;
    label(page, 2.0, y(highest) + 4.0, &format!("{highest:.2}"))?;
    label(page, 2.0, y(0.0) + 4.0, "0")?;
    label(
        page,
        WIDTH - 90.0,
        HEIGHT - 4.0,
        &format!("{} steps", course.steps),
    )?;
    write!(
        page,
        "<polyline fill=none stroke='#1f5fa8' stroke-width=2 points='"
    )?;
    for (step, loss) in &course.losses {
        write!(page, "{:.1},{:.1} ", x(*step), y(f64::from(*loss)))?;
    }
    write!(page, "'/></svg>")
}
