//! A collection alone → queries, from how its texts are built: a title asks for what stands below it, and a sentence for the text
//! that it was taken out of (inverse cloze task, Lee et al. 2019, arXiv:1906.00300).
//!
//! What asks is taken out of its document; else the encoder would learn to find equal words, which it can already.

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation;

use super::data::{Example, Examples};
use crate::document::Document;
use crate::outline::Outline;
use crate::random::Random;

/// Words that a query has, at least and at most.
const WORDS: std::ops::RangeInclusive<usize> = 3..=40;
/// A document has to keep that many words.
const LEAST_LEFT: usize = 12;

impl Examples {
    /// Queries from the documents themselves. A title that stands on several documents asks for none of them.
    pub fn from_structure(documents: Vec<Document>, seed: u64) -> Self {
        let mut titles: HashMap<String, usize> = HashMap::new();
        for title in documents
            .iter()
            .filter_map(|document| document.title.clone())
        {
            *titles.entry(title).or_default() += 1;
        }
        let mut random = Random(seed);
        let mut built = Self::default();
        for mut document in documents {
            let own = document
                .title
                .as_ref()
                .filter(|title| titles[*title] == 1 && fits(title));
            let query = match own {
                Some(_) if words(&document.text) >= LEAST_LEFT => document.title.take(),
                _ => sentence(&document.text, &mut random).map(|range| {
                    let taken = document.text[range.clone()].trim().to_owned();
                    document.text.replace_range(range, " ");
                    taken
                }),
            };
            // Places of headings and pages would no longer be true.
            document.outline = Outline::default();
            if let Some(query) = query {
                built.examples.push(Example {
                    id: document.id.clone(),
                    query,
                    positives: vec![built.documents.len()],
                    negatives: Vec::new(),
                });
            }
            built.documents.push(document);
        }
        built
    }
}

fn words(text: &str) -> usize {
    text.unicode_words().count()
}

fn fits(text: &str) -> bool {
    WORDS.contains(&words(text))
}

/// A sentence of the text, without which enough is left.
fn sentence(text: &str, random: &mut Random) -> Option<std::ops::Range<usize>> {
    let all = words(text);
    let sentences = text.split_sentence_bound_indices();
    let fit =
        sentences.filter(|(_, sentence)| fits(sentence) && all - words(sentence) >= LEAST_LEFT);
    let fit: Vec<_> = fit.map(|(at, sentence)| at..at + sentence.len()).collect();
    if fit.is_empty() {
        return None;
    }
    Some(fit[random.below(fit.len())].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_is_no_longer_in_its_document() {
        let body = "The first sentence tells of rivers. The second one tells of mountains and snow. A third tells of the sea.";
        let built = Examples::from_structure(
            vec![
                Document::new("a", body).title("Rivers and seas"),
                Document::new("b", body).title("Notes to self"),
                Document::new("c", body).title("Notes to self"),
                Document::new("d", "Too short to take a sentence out of it."),
            ],
            1,
        );
        let queries: Vec<&str> = built
            .examples
            .iter()
            .map(|example| example.query.as_str())
            .collect();
        assert_eq!(
            (queries.len(), queries[0], built.documents.len()),
            (3, "Rivers and seas", 4)
        );
        assert_eq!(built.documents[0].title, None);
        for example in &built.examples[1..] {
            let text = &built.documents[example.positives[0]].text;
            assert!(
                body.contains(&example.query) && !text.contains(&example.query),
                "{text}"
            );
        }
    }
}
