//! nDCG, MRR and recall, as `trec_eval` and BEIR define them.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use super::{Qrels, Run};

/// A measure with its cut-off: how many of the best hits it looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// Normalised discounted cumulative gain (Järvelin and Kekäläinen 2002): the sum of relevance / log₂(rank + 1) over
    /// the first k hits, divided by the same sum over the best possible order of all judged documents. In [0, 1].
    Ndcg(usize),
    /// 1 / rank of the first relevant hit among the first k, else 0.
    Mrr(usize),
    /// Relevant documents among the first k hits / all relevant documents.
    Recall(usize),
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ndcg(k) => write!(f, "nDCG@{k}"),
            Self::Mrr(k) => write!(f, "MRR@{k}"),
            Self::Recall(k) => write!(f, "Recall@{k}"),
        }
    }
}

/// How well a run answers the judged queries.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// What was measured.
    pub measures: Vec<Measure>,
    /// The mean of each measure over `per_query`; 0 if there is none.
    pub means: Vec<f64>,
    /// The queries that were asked and have at least one relevant document, by id.
    pub per_query: Vec<QueryValues>,
    /// How many these are.
    pub queries: usize,
    /// Queries asked for which no document is judged relevant: they are in no mean.
    pub queries_without_judgements: usize,
    /// Queries with a relevant document that were not asked (their text is missing): they are in no mean either.
    pub judged_queries_missing: usize,
}

/// The measures of one query, in the order of [`Evaluation::measures`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct QueryValues {
    /// The query's id.
    pub id: String,
    /// One value a measure.
    pub values: Vec<f64>,
}

/// Measures a run against judgements.
///
/// Documents that are not judged count as not relevant. A document that a run lists twice for a query counts at its first
/// place; the second place holds nothing of worth.
pub fn evaluate(run: &Run, qrels: &Qrels, measures: &[Measure]) -> Evaluation {
    let mut per_query = Vec::new();
    let mut queries_without_judgements = 0;
    for id in run.query_ids() {
        match qrels.judgements(id) {
            Some(judged) if qrels.has_relevant(id) => {
                let ranked = relevances(run.hits(id).unwrap_or_default(), judged);
                let values = measures
                    .iter()
                    .map(|&measure| value(measure, &ranked, judged))
                    .collect();
                per_query.push(QueryValues {
                    id: id.to_owned(),
                    values,
                });
            }
            _ => queries_without_judgements += 1,
        }
    }
    let asked = |id: &str| run.hits(id).is_some();
    Evaluation {
        measures: measures.to_vec(),
        means: (0..measures.len())
            .map(|at| mean(per_query.iter().map(|query| query.values[at])))
            .collect(),
        queries: per_query.len(),
        per_query,
        queries_without_judgements,
        judged_queries_missing: qrels
            .query_ids()
            .filter(|id| qrels.has_relevant(id) && !asked(id))
            .count(),
    }
}

/// The relevance at each rank, never below 0.
fn relevances(hits: &[(String, f32)], judged: &BTreeMap<String, i32>) -> Vec<i32> {
    let mut seen = HashSet::new();
    let relevance = |document: &String| {
        judged
            .get(document)
            .map_or(0, |&relevance| relevance.max(0))
    };
    hits.iter()
        .map(|(document, _)| {
            if seen.insert(document) {
                relevance(document)
            } else {
                0
            }
        })
        .collect()
}

fn value(measure: Measure, ranked: &[i32], judged: &BTreeMap<String, i32>) -> f64 {
    let first = |k: usize| &ranked[..k.min(ranked.len())];
    match measure {
        Measure::Ndcg(k) => {
            let mut ideal: Vec<i32> = judged.values().map(|&relevance| relevance.max(0)).collect();
            ideal.sort_unstable_by(|a, b| b.cmp(a));
            ideal.truncate(k);
            let best = gain(&ideal);
            if best > 0.0 {
                gain(first(k)) / best
            } else {
                0.0
            }
        }
        Measure::Mrr(k) => first(k)
            .iter()
            .position(|&relevance| relevance > 0)
            .map_or(0.0, |at| 1.0 / (at + 1) as f64),
        Measure::Recall(k) => {
            let found = first(k).iter().filter(|&&relevance| relevance > 0).count();
            let all = judged.values().filter(|&&relevance| relevance > 0).count();
            if all > 0 {
                found as f64 / all as f64
            } else {
                0.0
            }
        }
    }
}

/// Σ relevance / log₂(rank + 1), ranks from 1.
fn gain(relevances: &[i32]) -> f64 {
    relevances
        .iter()
        .zip(1_u32..)
        .map(|(&relevance, rank)| f64::from(relevance) / f64::from(rank + 1).log2())
        .sum()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len();
    if count == 0 {
        0.0
    } else {
        values.sum::<f64>() / count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qrels() -> Qrels {
        Qrels::parse(
            "q1 0 a 3\nq1 0 b 2\nq1 0 c 1\nq1 0 d 0\nq2 0 a 1\nq3 0 a 1\nq4 0 a 0\n",
            "t",
        )
        .expect("parses")
    }

    fn close(value: f64, expected: f64) {
        assert!(
            (value - expected).abs() < 1e-9,
            "{value} where {expected} is expected"
        );
    }

    #[test]
    fn ndcg_agrees_with_a_hand_computation() {
        let mut run = Run::default();
        run.insert(
            "q1",
            [("b", 0.9), ("x", 0.8), ("a", 0.7), ("d", 0.6), ("c", 0.5)],
        );
        let evaluation = evaluate(
            &run,
            &qrels(),
            &[Measure::Ndcg(3), Measure::Ndcg(10), Measure::Ndcg(1)],
        );
        // DCG@3 = 2/log2(2) + 0/log2(3) + 3/log2(4) = 2 + 0 + 1.5 = 3.5
        // ideal@3 = 3/log2(2) + 2/log2(3) + 1/log2(4) = 3 + 1.261859507 + 0.5 = 4.761859507
        close(evaluation.means[0], 3.5 / 4.761_859_507_142_915);
        // DCG@10 adds c at rank 5: 1/log2(6) = 0.386852807; the ideal is the same, for d has relevance 0.
        close(
            evaluation.means[1],
            3.886_852_807_234_542 / 4.761_859_507_142_915,
        );
        // Only rank 1: 2 / 3.
        close(evaluation.means[2], 2.0 / 3.0);
    }

    #[test]
    fn mrr_and_recall_agree_with_a_hand_computation() {
        let mut run = Run::default();
        run.insert("q1", [("x", 0.9), ("c", 0.8), ("a", 0.7)]); // first relevant at 2; 2 of 3 relevant found
        run.insert("q2", [("x", 0.9), ("y", 0.8), ("a", 0.7)]); // first relevant at 3, beyond the cut of 2
        let evaluation = evaluate(
            &run,
            &qrels(),
            &[
                Measure::Mrr(10),
                Measure::Mrr(2),
                Measure::Recall(10),
                Measure::Recall(2),
            ],
        );
        close(evaluation.means[0], (1.0 / 2.0 + 1.0 / 3.0) / 2.0);
        close(evaluation.means[1], (1.0 / 2.0 + 0.0) / 2.0);
        close(evaluation.means[2], (2.0 / 3.0 + 1.0) / 2.0);
        close(evaluation.means[3], (1.0 / 3.0 + 0.0) / 2.0);
        assert_eq!(evaluation.per_query[1].id, "q2");
        close(evaluation.per_query[1].values[0], 1.0 / 3.0);
    }

    #[test]
    fn queries_outside_the_mean_are_counted() {
        let mut run = Run::default();
        run.insert("q1", [("a", 1.0)]);
        run.insert("q2", Vec::<(String, f32)>::new()); // asked, found nothing: in the mean as 0
        run.insert("q4", [("a", 1.0)]); // judged, but nothing relevant
        run.insert("q5", [("a", 1.0)]); // not judged at all
        let evaluation = evaluate(&run, &qrels(), &[Measure::Mrr(10)]);
        close(evaluation.means[0], 0.5);
        assert_eq!(evaluation.queries, 2);
        assert_eq!(evaluation.queries_without_judgements, 2);
        assert_eq!(evaluation.judged_queries_missing, 1, "q3 was not asked");
    }

    #[test]
    fn negative_judgements_gain_nothing_and_repeated_hits_count_once() {
        let qrels = Qrels::parse("q 0 a 1\nq 0 b -2\n", "t").expect("parses");
        let mut run = Run::default();
        run.insert("q", [("b", 0.9), ("a", 0.8), ("a", 0.7)]);
        let evaluation = evaluate(&run, &qrels, &[Measure::Ndcg(10), Measure::Recall(10)]);
        // DCG = 0/log2(2) + 1/log2(3); ideal = 1/log2(2).
        close(evaluation.means[0], 1.0 / 3.0_f64.log2());
        close(evaluation.means[1], 1.0);
    }

    #[test]
    fn nothing_asked_is_zero_and_not_nan() {
        let evaluation = evaluate(&Run::default(), &qrels(), &[Measure::Ndcg(10)]);
        assert_eq!(evaluation.means, [0.0]);
        assert_eq!(evaluation.judged_queries_missing, 3);
    }
}
