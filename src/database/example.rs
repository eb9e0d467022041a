//! Documents as a question: more like these, less like those.
//!
//! The vector asked with is Rocchio's (The SMART Retrieval System, 1971, chapter 14):
//!
//!   L + (L − N)
//!
//! with L the mean of what is liked and N the mean of what is not. The weights add up to one, so that the vector is a
//! place among the vectors under every metric. A document's vector is the mean of its passages'; each document counts
//! once, however long it is. A query's own vector counts as much as all examples to be like, together.

use super::part::Snapshot;
use crate::error::{Error, Result};

/// Ids of documents to be like, and of documents not to be like.
#[derive(Clone, Debug, Default)]
pub(super) struct Examples {
    pub like: Vec<String>,
    pub unlike: Vec<String>,
}

/// A part's place in the snapshot, and a document's ordinal in it.
type Place = (usize, u32);

impl Examples {
    pub fn is_empty(&self) -> bool {
        self.like.is_empty() && self.unlike.is_empty()
    }

    /// Where the examples lie.
    ///
    /// # Errors
    /// [`Error::Query`] if one is not there, or stands on both sides.
    pub fn find(&self, snapshot: &Snapshot) -> Result<[Vec<Place>; 2]> {
        if let Some(id) = self.like.iter().find(|id| self.unlike.contains(id)) {
            return refuse(format!("document {id:?} is both to be like and not"));
        }
        Ok([
            places(snapshot, &self.like)?,
            places(snapshot, &self.unlike)?,
        ])
    }

    /// The vector to ask with, shape `[dimension]`, and where the examples lie. `query` is what else is asked.
    ///
    /// # Errors
    /// As [`find`](Self::find); [`Error::Query`] if nothing is to be like; [`Error::Damaged`].
    pub fn combine(
        &self,
        snapshot: &Snapshot,
        query: Option<&[f32]>,
    ) -> Result<(Vec<f32>, Vec<Place>)> {
        let [like, unlike] = self.find(snapshot)?;
        let mut liked: Vec<Vec<f64>> = Vec::new();
        liked.extend(query.map(|query| query.iter().map(|&x| f64::from(x)).collect()));
        liked.extend(mean_of(snapshot, &like)?);
        let Some(liked) = mean(liked) else {
            return refuse("it names only documents not to be like; name one to be like".into());
        };
        let vector = match mean_of(snapshot, &unlike)? {
            None => liked,
            Some(unliked) => liked
                .iter()
                .zip(unliked)
                .map(|(l, n)| l + (l - n))
                .collect(),
        };
        let vector = vector.into_iter().map(|x| x as f32).collect();
        Ok((vector, [like, unlike].concat()))
    }
}

fn refuse<T>(what: String) -> Result<T> {
    Err(Error::Query { what })
}

/// Where the documents lie, each once.
fn places(snapshot: &Snapshot, ids: &[String]) -> Result<Vec<Place>> {
    let found: Vec<Option<Place>> = ids.iter().map(|id| snapshot.find(id)).collect();
    let missing: Vec<String> = ids
        .iter()
        .zip(&found)
        .filter(|(_, place)| place.is_none())
        .map(|(id, _)| format!("{id:?}"))
        .collect();
    if !missing.is_empty() {
        return refuse(format!("there is no document {}", missing.join(", ")));
    }
    let mut places: Vec<Place> = found.into_iter().flatten().collect();
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

/// The mean of the documents' vectors. `None` if there are no documents.
fn mean_of(snapshot: &Snapshot, places: &[Place]) -> Result<Option<Vec<f64>>> {
    let vector = |&(part, document): &Place| {
        let segment = snapshot.parts[part].segment()?;
        let passage = |row| {
            let vector = segment.vector(row)?;
            Ok(vector.iter().map(|&x| f64::from(x)).collect())
        };
        let passages: Vec<Vec<f64>> = segment
            .rows_of(document)
            .map(passage)
            .collect::<Result<_>>()?;
        Ok(mean(passages).expect("a document has a passage"))
    };
    Ok(mean(places.iter().map(vector).collect::<Result<_>>()?))
}

fn mean(vectors: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let count = vectors.len() as f64;
    let sum = vectors.into_iter().reduce(|mut sum, vector| {
        sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
        sum
    })?;
    Some(sum.into_iter().map(|x| x / count).collect())
}
