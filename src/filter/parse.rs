//! The filter language.
use super::Filter;
use crate::error::Result;
impl Filter {
    /// Parses a filter as people type it.
    pub fn parse(text: &str) -> Result<Self> {
        let _ = text;
        todo!()
    }
}
