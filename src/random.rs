//! Numbers that look random, the same for the same seed on every machine and in every version.

/// SplitMix64 (Steele, Lea and Flood 2014), from a seed.
pub(crate) struct Random(pub u64);

impl Random {
    /// Any number, all as likely.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number of the standard normal distribution (Box and Muller 1958).
    #[cfg(feature = "tune")]
    pub fn normal(&mut self) -> f32 {
        let mut unit = || (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let (radius, angle) = (1.0 - unit(), unit());
        ((-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
    }

    /// A number below `limit`, all about as likely.
    #[cfg(any(test, feature = "tune"))]
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_published_generator() {
        // The first three from seed 1234567, as Vigna's C program prints them.
        let mut random = Random(1_234_567);
        let numbers = [(); 3].map(|()| random.next());
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
