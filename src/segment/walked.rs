//! int8 codes → all that a walk reads: the graph, its order, the codes to walk by, how far to walk.

use super::calibration::Calibration;
use super::findable::make_findable;
use super::graph::{Frozen, Graph};
use super::int4::{Int4, Int4Codes};
use super::kernel::Kernel;
use super::quantise::Quantiser;
use super::questions::{Questions, RowOf, Sample};
use super::source::{OlderGraph, Source, Stop};
use super::vectors::{AnyCodes, Codes, Keys};
use super::{BuildOptions, SegmentSpec};
use crate::error::{Error, Result};
use crate::vector::Metric;

/// A walk by int4 codes takes a little more than half as long as one by int8 codes that looks at as many nodes. Where rows are
/// so near each other that it has to look at more than this many times as many, int8 codes are walked by.
const INT4_PAYS: f64 = 1.5;

/// What a segment has for walks.
pub(super) struct Walked {
    pub graph: Frozen,
    /// The row of each slot.
    pub order: Vec<u32>,
    pub calibration: Calibration,
    /// In the order of rows. `None` where int8 codes are walked by.
    pub int4: Option<Int4>,
}

impl Walked {
    /// Builds the graph of a source's rows, and tries it.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if `stop` said so; and what the source says.
    pub fn new(
        spec: &SegmentSpec,
        source: &dyn Source,
        codes: Codes<'_>,
        quantiser: &Quantiser,
        options: &BuildOptions,
        stop: Stop<'_>,
    ) -> Result<Self> {
        let older = source.older_graph()?;
        let start = older.as_ref().map(OlderGraph::start);
        let builder = options.builder.get();
        let graph = Frozen::new(codes, spec.metric, builder, start, options.seed, stop);
        drop(older);
        let mut graph = graph.ok_or(Error::Cancelled)?;
        let int4 = Int4::fit(codes, spec.dimension, quantiser);
        let recoded = int4.as_ref().map(|int4| int4.recoded.quantiser(quantiser));

        let squares = |codes: AnyCodes<'_>| match spec.metric {
            Metric::Cosine | Metric::Dot => Vec::new(),
            Metric::L2 => codes.squares(spec.dimension, Kernel::best()),
        };
        let fine_codes = AnyCodes::Int8(codes);
        let coarse_codes = int4
            .as_ref()
            .map(|int4| AnyCodes::Int4(Int4Codes::new(&int4.codes, spec.dimension)));
        let fine_squares = squares(fine_codes);
        let coarse_squares = coarse_codes.map(squares).unwrap_or_default();
        let sample = |codes, squares, quantiser| Sample {
            keys: Keys {
                codes,
                kernel: Kernel::best(),
                squares,
            },
            graph: Graph::default(),
            quantiser,
            metric: spec.metric,
            seed: options.seed,
            stop,
        };
        let fine = sample(fine_codes, fine_squares.as_slice(), quantiser);
        let coarse = coarse_codes
            .zip(recoded.as_ref())
            .map(|(codes, quantiser)| sample(codes, coarse_squares.as_slice(), quantiser));
        let vector = |row| source.vector(row);
        let (chosen, calibration) = choose(graph.as_graph(), fine, coarse, &vector)?;
        let is_int4 = matches!(chosen.keys.codes, AnyCodes::Int4(_));
        make_findable(&mut graph, &chosen, vector)?;
        let (graph, order) = graph.in_walking_order();
        Ok(Self {
            graph,
            order,
            calibration,
            int4: int4.filter(|_| is_int4),
        })
    }
}

/// Which codes the graph is to be walked by, and how far.
fn choose<'a>(
    graph: Graph<'_>,
    fine: Sample<'a>,
    coarse: Option<Sample<'a>>,
    vector: RowOf<'_>,
) -> Result<(Sample<'a>, Calibration)> {
    let tried = fine.over(graph);
    let questions = Questions::draw(&tried, vector)?;
    let calibration = Calibration::measure(&tried, &questions)?;
    if let Some(coarse) = coarse {
        let coarsely = Calibration::measure(&coarse.over(graph), &questions)?;
        if !coarsely.is_beaten(&calibration, INT4_PAYS) {
            return Ok((coarse, coarsely));
        }
    }
    Ok((fine, calibration))
}
