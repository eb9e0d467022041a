//! Does what is stored agree with what it was made of? Checksums tell that bytes are as they were written; this tells
//! whether they were written right.

use super::Segment;
use super::builder::NONE;
use super::format::Kind;
use super::graph::Graph;
use super::inputs::Inputs;
use super::int4::{self, Int4Codes, nibble};
use super::map::as_i8;
use super::quantise::stride;
use super::sections::Sections;
use super::vectors::{Codes, Rows};
use crate::error::{Error, Result};

/// What a longest error may be off by, in parts: it was summed in another order.
const ROUNDING: f64 = 1e-6;

impl Segment {
    /// The first damage of each section, and then of what the sections say of each other. None is good.
    pub fn damage(&self) -> Vec<Error> {
        let mut found: Vec<Error> = Kind::ALL
            .iter()
            .filter_map(|&kind| self.sections.verify(kind).err())
            .collect();
        if found.is_empty() {
            let sound = self.make_scannable().and_then(|()| self.make_walkable());
            found.extend(sound.err());
        }
        found
    }

    /// What does not agree with the rows that it was made of: the graph has to lead to each of them, and the codes have to
    /// be theirs. To be asked of a segment without [`damage`](Self::damage).
    pub fn disagreements(&self) -> Vec<Error> {
        let inputs = Inputs::new(&self.sections).check();
        [self.graph_is_whole(), self.codes_agree(), inputs]
            .into_iter()
            .filter_map(Result::err)
            .collect()
    }

    fn graph_is_whole(&self) -> Result<()> {
        let Some((graph, _)) = self.graph()? else {
            return Ok(());
        };
        let missed = unreachable(&graph, self.rows());
        match missed.first() {
            None => Ok(()),
            Some(&first) => {
                let at = graph.list_bytes() * first as usize;
                let what = format!("no walk comes to {} of its nodes", missed.len());
                Err(self.sections.damaged(Kind::Neighbours, at, &what))
            }
        }
    }

    fn codes_agree(&self) -> Result<()> {
        self.make_scannable()?;
        let dimension = self.spec.dimension;
        let sections: &Sections = &self.sections;
        let rows = Rows::new(sections, dimension);
        let codes = Codes::new(as_i8(sections.bytes(Kind::Codes)), dimension);
        let mut expected = vec![0; stride(dimension)];
        for slot in 0..self.rows() {
            let (vector, code) = (rows.at(slot)?, codes.row(slot));
            if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
                let at = 4 * (slot as usize * dimension + at);
                return Err(sections.damaged(Kind::Vectors, at, "a component is no number"));
            }
            self.quantiser.code(vector, &mut expected);
            if expected != code {
                let at = slot as usize * code.len();
                return Err(sections.damaged(Kind::Codes, at, "a code is not its vector's"));
            }
        }
        let Some(recoded) = &self.int4 else {
            return Ok(());
        };
        self.make_walkable()?;
        let narrow = Int4Codes::new(sections.bytes(Kind::Int4Codes), dimension);
        let (most, step) = (recoded.longest_difference(&self.quantiser), recoded.scale());
        for slot in 0..self.rows() {
            let (wide, narrow) = (codes.row(slot), narrow.row(slot));
            let difference = |at: usize| {
                let stands_for = step * f64::from(2 * i16::from(nibble(narrow, at)) - 15);
                self.quantiser.scale() * f64::from(wide[at]) - stands_for
            };
            let square: f64 = (0..dimension).map(|at| difference(at).powi(2)).sum();
            let padding = dimension..2 * narrow.len();
            if square.sqrt() > most * (1.0 + ROUNDING)
                || padding.into_iter().any(|at| nibble(narrow, at) != 0)
            {
                let at = slot as usize * int4::stride(dimension);
                let what = "an int4 code is not its vector's";
                return Err(sections.damaged(Kind::Int4Codes, at, what));
            }
        }
        Ok(())
    }
}

/// The slots that no walk from the seeds and orphans comes to, twins by their nodes.
fn unreachable(graph: &Graph<'_>, rows: u32) -> Vec<u32> {
    let mut reached = vec![false; rows as usize];
    let mut queue: Vec<u32> = [graph.seeds, graph.orphans].concat();
    while let Some(node) = queue.pop() {
        if !std::mem::replace(&mut reached[node as usize], true) {
            queue.extend(graph.neighbours(node).iter().filter(|&&next| next != NONE));
        }
    }
    for &[node, twin] in graph.all_twins() {
        reached[twin as usize] |= reached[node as usize];
    }
    (0..rows).filter(|&slot| !reached[slot as usize]).collect()
}
