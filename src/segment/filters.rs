//! The filters asked last and where their rows are, so that asking again costs nothing.

use std::sync::{Arc, Mutex, PoisonError};

use super::slots::SlotSet;
use crate::error::Result;
use crate::filter::Filter;

/// So many filters are kept,
const FILTERS: usize = 32;
/// and so many bytes of sets, whichever is less; the newest one always.
const BYTES: usize = 4 << 20;

/// The newest last.
#[derive(Default)]
pub(super) struct FilterCache(Mutex<Vec<(Filter, Arc<SlotSet>)>>);

impl FilterCache {
    /// The set of a filter; made if it is not there. Two threads that ask at once may both make it.
    pub fn get(
        &self,
        filter: &Filter,
        make: impl FnOnce() -> Result<SlotSet>,
    ) -> Result<Arc<SlotSet>> {
        if let Some(set) = self.take_out(filter) {
            self.put(filter.clone(), Arc::clone(&set));
            return Ok(set);
        }
        let set = Arc::new(make()?);
        self.put(filter.clone(), Arc::clone(&set));
        Ok(set)
    }

    fn take_out(&self, filter: &Filter) -> Option<Arc<SlotSet>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(other, _)| other == filter)?;
        Some(kept.remove(at).1)
    }

    fn put(&self, filter: Filter, set: Arc<SlotSet>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(other, _)| *other != filter);
        kept.push((filter, set));
        let mut bytes = 0;
        let kept_from = kept
            .iter()
            .rposition(|(_, set)| {
                bytes += set.bytes();
                bytes > BYTES
            })
            .map_or(0, |at| at + 1);
        let first = kept_from.max(kept.len().saturating_sub(FILTERS));
        let first = first.min(kept.len() - 1);
        kept.drain(..first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_asked_last_are_kept() {
        let cache = FilterCache::default();
        let filter = |n: usize| Filter::equal("n", n as i64);
        let ask = |n: usize| {
            let mut made = false;
            let set = cache.get(&filter(n), || {
                made = true;
                Ok(SlotSet::none(64))
            });
            set.expect("it can be made");
            made
        };
        assert!((0..FILTERS).all(ask));
        assert!(!ask(0) && ask(FILTERS), "the oldest went for the newest");
        assert!(!ask(0) && ask(1), "what was asked again stayed");
        let large = |slots| {
            let set = cache.get(&Filter::equal("large", i64::from(slots)), || {
                Ok(SlotSet::none(slots))
            });
            set.expect("it can be made")
        };
        large(8 * BYTES as u32 + 64);
        assert_eq!(cache.0.lock().expect("no thread panicked").len(), 1);
    }
}
