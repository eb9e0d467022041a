//! Examples → train, development and test, so that none of them knows a query or an answer of another.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::data::{Example, Examples};
use crate::error::{Error, Result};
use crate::random::Random;

/// The fewest queries that are learnt from, and the fewest that are asked to tell whether it helped.
const MIN_TRAIN: usize = 32;
const MIN_TEST: usize = 20;
/// The fewest that choose how far to go.
const MIN_DEVELOPMENT: usize = 4;
/// Of all queries that many hundredths are for development, and for the test.
const DEVELOPMENT: usize = 10;
const TEST: usize = 20;
/// Where more than one in so many held-out queries is learnt from, somebody mixed up the parts.
const MAX_LEAKED: usize = 10;
/// More tell no more.
const MAX_TEST: usize = 2_000;

/// Which examples are for what, as places in the list; those of the test in the list of its own, if there is one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Split {
    pub train: Vec<usize>,
    pub development: Vec<usize>,
    pub test: Vec<usize>,
    /// Left out of training because a held-out query is the same or has the same answer.
    pub left_out: usize,
}

impl Split {
    /// By chance, but what shares an answer or a query's words stays together.
    ///
    /// # Errors
    /// [`Error::Tune`] if too few remain.
    pub fn by_chance(examples: &[Example], seed: u64) -> Result<Self> {
        let all: Vec<usize> = (0..examples.len()).collect();
        let (test, rest) = part(examples, &all, TEST, seed);
        let test: Vec<usize> = test.into_iter().take(MAX_TEST).collect();
        Self::with_development(examples, rest, test, 0, seed)
    }

    /// With a test that was set apart before. What shares a query or an answer with it is not learnt from.
    ///
    /// # Errors
    /// [`Error::Tune`] if too few remain, or if so many of its queries stand in the other part that it is no test.
    pub fn held_out(examples: &[Example], held_out: &[Example], seed: u64) -> Result<Self> {
        let asked: HashSet<String> = held_out
            .iter()
            .map(|example| words(&example.query))
            .collect();
        let leaks = |example: &&Example| asked.contains(&words(&example.query));
        let leaked: Vec<&Example> = examples.iter().filter(leaks).collect();
        if leaked.len() * MAX_LEAKED > held_out.len() {
            return Err(Error::Tune {
                what: format!(
                    "{} of the queries to learn from are held out too, {:?} among them, so the test would not be one; take them \
                     out of one of them",
                    leaked.len(),
                    leaked[0].query
                ),
            });
        }
        let answers: HashSet<usize> = held_out
            .iter()
            .flat_map(|example| example.positives.iter().copied())
            .collect();
        let (rest, shared): (Vec<usize>, Vec<usize>) = (0..examples.len()).partition(|&at| {
            let example = &examples[at];
            let new = |positive| !answers.contains(positive);
            example.positives.iter().all(new) && !leaks(&example)
        });
        let test = (0..held_out.len()).collect();
        Self::with_development(examples, rest, test, shared.len(), seed)
    }

    /// For questions without answers: only a test, and development where the queries that have answers allow it. Returns the
    /// questions that no held-out query asks too.
    ///
    /// # Errors
    /// [`Error::Tune`] if too few remain.
    pub fn questions(examples: &Examples, seed: u64) -> Result<(Self, Vec<&String>)> {
        let mut split = match examples.held_out.len() {
            0 => Self::by_chance(&examples.examples, seed)?,
            count => Self {
                test: (0..count).collect(),
                ..Self::default()
            },
        };
        split.train.clear();
        let (held_out, development) = (split.asked(examples), split.development.iter());
        let development = development.map(|&at| &examples.examples[at]);
        let asked: HashSet<String> = held_out
            .iter()
            .copied()
            .chain(development)
            .map(|example| words(&example.query))
            .collect();
        let mut seen = HashSet::new();
        let questions = examples.questions.iter().filter(|question| {
            let words = words(question);
            !words.is_empty() && !asked.contains(&words) && seen.insert(words)
        });
        let questions: Vec<&String> = questions.collect();
        split.check(
            examples.held_out.len().max(examples.examples.len()),
            questions.len(),
            MIN_DEVELOPMENT,
        )?;
        Ok((split, questions))
    }

    /// The test's queries.
    pub fn asked<'a>(&self, examples: &'a Examples) -> Vec<&'a Example> {
        let list = match examples.held_out[..] {
            [] => &examples.examples,
            _ => &examples.held_out,
        };
        self.test.iter().map(|&at| &list[at]).collect()
    }

    fn with_development(
        examples: &[Example],
        rest: Vec<usize>,
        test: Vec<usize>,
        left_out: usize,
        seed: u64,
    ) -> Result<Self> {
        let (development, train) = part(examples, &rest, DEVELOPMENT, seed ^ 1);
        let split = Self {
            train,
            development,
            test,
            left_out,
        };
        split.check(examples.len(), split.train.len(), split.development.len())?;
        Ok(split)
    }

    /// Is there enough to learn from, to choose by, and to test with?
    fn check(&self, queries: usize, train: usize, development: usize) -> Result<()> {
        for (part, least, what) in [
            (train, MIN_TRAIN, "learn from"),
            (development, MIN_DEVELOPMENT, "choose by"),
            (self.test.len(), MIN_TEST, "test with"),
        ] {
            if part < least {
                return Err(Error::Tune {
                    what: format!(
                        "{queries} queries have answers, which leaves {part} to {what} where no query or answer is shared; at \
                         least {least} are needed"
                    ),
                });
            }
        }
        Ok(())
    }
}

/// A part of so many hundredths, and the rest; groups that share something are not torn.
fn part(
    examples: &[Example],
    all: &[usize],
    hundredths: usize,
    seed: u64,
) -> (Vec<usize>, Vec<usize>) {
    let mut groups: Vec<Vec<usize>> = groups(examples, all);
    shuffle(&mut groups, &mut Random(seed));
    let wanted = (all.len() * hundredths).div_ceil(100);
    let (mut taken, mut rest) = (Vec::new(), Vec::new());
    for group in groups {
        // One large group does not fill a part alone: a gain there would be that of one subject.
        let fits = taken.len() + group.len() <= wanted && group.len() * 2 <= wanted.max(2);
        if fits { &mut taken } else { &mut rest }.extend(group);
    }
    taken.sort_unstable();
    rest.sort_unstable();
    (taken, rest)
}

/// Examples that are linked by an answer or the same words, in any number of steps.
fn groups(examples: &[Example], all: &[usize]) -> Vec<Vec<usize>> {
    let mut parent: HashMap<usize, usize> = all.iter().map(|&at| (at, at)).collect();
    fn root(parent: &mut HashMap<usize, usize>, mut at: usize) -> usize {
        while parent[&at] != at {
            let above = parent[&parent[&at]];
            parent.insert(at, above);
            at = above;
        }
        at
    }
    let mut by_answer: HashMap<usize, usize> = HashMap::new();
    let mut by_words: HashMap<String, usize> = HashMap::new();
    for &at in all {
        let positives = examples[at].positives.iter();
        let mut linked: Vec<usize> = positives
            .map(|&answer| *by_answer.entry(answer).or_insert(at))
            .collect();
        linked.push(*by_words.entry(words(&examples[at].query)).or_insert(at));
        for other in linked {
            let (a, b) = (root(&mut parent, at), root(&mut parent, other));
            parent.insert(a.max(b), a.min(b));
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &at in all {
        groups.entry(root(&mut parent, at)).or_default().push(at);
    }
    groups.into_values().collect()
}

/// A query's words, whatever their case and what stands between them.
fn words(text: &str) -> String {
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Fisher and Yates.
pub(super) fn shuffle<T>(list: &mut [T], random: &mut Random) {
    for at in (1..list.len()).rev() {
        list.swap(at, random.below(at + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(query: &str, positives: &[usize]) -> Example {
        Example {
            id: query.into(),
            query: query.into(),
            positives: positives.into(),
            negatives: Vec::new(),
        }
    }

    #[test]
    fn no_part_knows_an_answer_or_a_query_of_another() {
        // Two queries an answer, and every seventh asked twice in other letters.
        let mut examples: Vec<Example> = (0..400)
            .map(|at| example(&format!("what is {}", at - at % 7 / 6), &[at / 2]))
            .collect();
        examples[7].query = examples[9].query.to_uppercase() + "?";
        let split = Split::by_chance(&examples, 1).expect("enough");
        assert_eq!(
            split.train.len() + split.development.len() + split.test.len(),
            400
        );
        assert!(
            split.test.len() > 60 && split.development.len() > 20,
            "{split:?}"
        );
        let parts = [&split.train, &split.development, &split.test];
        let of = |part: &[usize]| -> (HashSet<usize>, HashSet<String>) {
            let positives = part.iter().flat_map(|&at| examples[at].positives.clone());
            (
                positives.collect(),
                part.iter().map(|&at| words(&examples[at].query)).collect(),
            )
        };
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let (a, b) = (of(parts[a]), of(parts[b]));
            assert!(a.0.is_disjoint(&b.0) && a.1.is_disjoint(&b.1));
        }
        assert_eq!(split, Split::by_chance(&examples, 1).expect("enough"));
        assert_ne!(split, Split::by_chance(&examples, 2).expect("enough"));
    }

    #[test]
    fn what_is_held_out_is_not_learnt_and_parts_that_are_mixed_up_are_refused() {
        let mut examples: Vec<Example> = (0..100)
            .map(|at| example(&format!("q{at}"), &[at]))
            .collect();
        let held_out = examples.split_off(70);
        examples[50].positives.push(73);
        let split = Split::held_out(&examples, &held_out, 1).expect("enough");
        assert_eq!((split.test.len(), split.left_out), (30, 1));
        assert!(!split.train.contains(&50) && !split.development.contains(&50));
        examples[60].query = "Q93!".into();
        let split = Split::held_out(&examples, &held_out, 1).expect("one query is left out");
        assert_eq!((split.left_out, split.train.contains(&60)), (2, false));
        for (at, leak) in held_out.iter().enumerate().take(4) {
            examples[at].query.clone_from(&leak.query);
        }
        let error = Split::held_out(&examples, &held_out, 1).expect_err("leaks");
        assert!(error.to_string().contains("held out too"), "{error}");
    }

    #[test]
    fn too_few_queries_are_refused() {
        let examples: Vec<Example> = (0..40)
            .map(|at| example(&format!("q{at}"), &[at]))
            .collect();
        let error = Split::by_chance(&examples, 1).expect_err("too few");
        assert!(error.to_string().contains("at least"), "{error}");
        // Five queries an answer are groups that still fit.
        let fives: Vec<Example> = (0..200)
            .map(|at| example(&format!("q{at}"), &[at / 5]))
            .collect();
        let split = Split::by_chance(&fives, 1).expect("enough");
        assert!(
            split.test.len() >= 35 && split.development.len() >= 10,
            "{split:?}"
        );
        let same: Vec<Example> = (0..400)
            .map(|at| example(&format!("q{at}"), &[0]))
            .collect();
        let error = Split::by_chance(&same, 1).expect_err("one answer");
        assert!(error.to_string().contains("shared"), "{error}");
    }
}
