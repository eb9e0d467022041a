//! Matrices in 8 bits, for `MatMulNBits`: blocks of 32 numbers of a row share a scale.
//!
//! The operator quantises its other factor in the same blocks, row by row, so that a text's vector does not depend on what
//! shares its batch; ONNX's `DynamicQuantizeMatMul` takes one scale for a whole batch, and is not used.

/// Numbers that share a scale.
pub(super) const BLOCK: usize = 32;
/// What stands for zero.
const ZERO: f32 = 128.0;

/// Bytes `[rows, columns / 32, 32]` and scales `[rows, columns / 32]` of a matrix whose rows are a multiple of 32 long.
pub(super) fn blocks(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let mut bytes = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(values.len() / BLOCK);
    for block in values.chunks_exact(BLOCK) {
        let largest = block.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        scales.push(scale);
        bytes.extend(
            block
                .iter()
                .map(|x| (x / scale + ZERO).round().clamp(1.0, 255.0) as u8),
        );
    }
    (bytes, scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_within_half_a_step() {
        let mut random = crate::random::Random(7);
        let values: Vec<f32> = (0..320)
            .map(|_| (random.next() % 2_001) as f32 / 1_000.0 - 1.0)
            .collect();
        let (bytes, scales) = blocks(&values);
        for (at, (value, byte)) in values.iter().zip(&bytes).enumerate() {
            let scale = scales[at / BLOCK];
            let back = (f32::from(*byte) - ZERO) * scale;
            assert!(
                (back - value).abs() <= scale * 0.501,
                "{value} came back as {back}"
            );
        }
        assert_eq!(blocks(&[0.0; 32]), (vec![128; 32], vec![1.0]));
    }
}
