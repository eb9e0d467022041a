//! A folder in BEIR's layout.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A folder with `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`, as the BEIR benchmark lays out its data sets
/// (Thakur et al. 2021, <https://github.com/beir-cellar/beir>).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BeirFolder {
    /// One document a line: `_id`, `title`, `text`.
    pub corpus: PathBuf,
    /// One query a line: `_id`, `text`.
    pub queries: PathBuf,
    /// Split name → judgements file, by name: `("test", "…/qrels/test.tsv")`.
    pub splits: Vec<(String, PathBuf)>,
}

impl BeirFolder {
    /// The layout, if `folder` holds `corpus.jsonl` and `queries.jsonl`. Nothing is opened but the folders.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder `qrels` is there but cannot be listed.
    pub fn recognise(folder: impl AsRef<Path>) -> Result<Option<Self>> {
        let folder = folder.as_ref();
        let (corpus, queries) = (folder.join("corpus.jsonl"), folder.join("queries.jsonl"));
        if !corpus.is_file() || !queries.is_file() {
            return Ok(None);
        }
        let qrels = folder.join("qrels");
        let mut splits = Vec::new();
        if qrels.is_dir() {
            for entry in fs::read_dir(&qrels).map_err(Error::io("list", &qrels))? {
                let path = entry.map_err(Error::io("list", &qrels))?.path();
                if path.extension().is_some_and(|extension| extension == "tsv")
                    && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
                {
                    splits.push((name.to_owned(), path));
                }
            }
        }
        splits.sort();
        Ok(Some(Self {
            corpus,
            queries,
            splits,
        }))
    }

    /// The judgements file of a split; without a name `test`, or the only one there is.
    ///
    /// # Errors
    /// [`Error::Input`] naming the splits that exist.
    pub fn split(&self, name: Option<&str>) -> Result<&Path> {
        let wanted = match (name, self.splits.as_slice()) {
            (None, [(only, _)]) => only.as_str(),
            (name, _) => name.unwrap_or("test"),
        };
        let found = self
            .splits
            .iter()
            .find(|(split, _)| split == wanted)
            .map(|(_, path)| path.as_path());
        found.ok_or_else(|| {
            let known: Vec<_> = self
                .splits
                .iter()
                .map(|(split, _)| split.as_str())
                .collect();
            let known = if known.is_empty() {
                "there is none".into()
            } else {
                format!("there is: {}", known.join(", "))
            };
            let folder = self.corpus.with_file_name("qrels");
            Error::Input {
                place: folder.display().to_string(),
                what: format!("no judgements {wanted}.tsv; {known}"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("qrels")).expect("qrels");
        for file in files {
            fs::write(dir.path().join(file), "").expect("a file");
        }
        dir
    }

    #[test]
    fn the_layout_is_recognised_with_its_splits_by_name() {
        let dir = folder(&[
            "corpus.jsonl",
            "queries.jsonl",
            "qrels/train.tsv",
            "qrels/test.tsv",
            "qrels/notes.txt",
        ]);
        let beir = BeirFolder::recognise(dir.path())
            .expect("listed")
            .expect("recognised");
        let names: Vec<_> = beir.splits.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["test", "train"]);
        assert_eq!(
            beir.split(None).expect("test is the default"),
            dir.path().join("qrels/test.tsv")
        );
        assert_eq!(
            beir.split(Some("train")).expect("train"),
            dir.path().join("qrels/train.tsv")
        );
    }

    #[test]
    fn the_only_split_is_the_default_and_an_unknown_one_names_those_there_are() {
        let dir = folder(&["corpus.jsonl", "queries.jsonl", "qrels/trial.tsv"]);
        let beir = BeirFolder::recognise(dir.path())
            .expect("listed")
            .expect("recognised");
        assert_eq!(
            beir.split(None).expect("the only one"),
            dir.path().join("qrels/trial.tsv")
        );
        let message = beir
            .split(Some("dev"))
            .expect_err("no such split")
            .to_string();
        assert!(
            message.contains("dev.tsv") && message.contains("trial"),
            "{message}"
        );
    }

    #[test]
    fn a_folder_without_queries_is_not_recognised() {
        let dir = folder(&["corpus.jsonl"]);
        assert_eq!(BeirFolder::recognise(dir.path()).expect("listed"), None);
    }
}
