//! What is kept of the numbers inside, drawn from a seed (Srivastava et al. 2014).

use crate::encoder::export::Dropped;
use crate::encoder::model::Config;
use crate::random::Random;

/// Inputs of a part's graphs that say what is kept, with their shapes: 0, or 1 / (1 − rate).
pub(super) fn masks(
    config: &Config,
    first_layer: usize,
    rate: f32,
    seed: u64,
    [rows, width]: [usize; 2],
) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let mut random = Random(seed);
    let below = (f64::from(rate) * 65_536.0) as u64;
    let kept = 1.0 / (1.0 - below as f32 / 65_536.0);
    let mut draw = |dropped: Dropped, layer: usize, shape: Vec<usize>| {
        let count = shape.iter().product();
        let mut numbers = Vec::with_capacity(count);
        while numbers.len() < count {
            // Four decisions of 16 bits each.
            let bits = random.next();
            let decisions = (0..4).map(|at| bits >> (16 * at) & 0xffff);
            numbers.extend(decisions.map(|bits| if bits < below { 0.0 } else { kept }));
        }
        numbers.truncate(count);
        (dropped.input(layer), shape, numbers)
    };
    let tokens = || vec![rows * width, config.hidden];
    let mut masks = Vec::new();
    if first_layer == 0 {
        masks.push(draw(Dropped::Embeddings, 0, tokens()));
    }
    for layer in first_layer..config.layers {
        let scores = vec![rows, config.heads, width, width];
        masks.push(draw(Dropped::Attention, layer, scores));
        masks.push(draw(Dropped::AttentionOutput, layer, tokens()));
        masks.push(draw(Dropped::Output, layer, tokens()));
    }
    masks
}
