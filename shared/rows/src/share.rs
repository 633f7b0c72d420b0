//! One of equal parts of all keys, by their hashes. It must not know what a key stands for.

/// The keys whose hashes lie in one of `of` equal ranges of all hashes, the order in which a snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which of the ranges, from 0.
    pub part: u32,
    /// How many there are, at least 1.
    pub of: u32,
}

impl Share {
    /// All keys.
    pub const WHOLE: Share = Share { part: 0, of: 1 };

    /// Whether a key with this hash belongs to it.
    #[inline]
    pub(crate) fn has(self, key_hash: u128) -> bool {
        (u128::from((key_hash >> 64) as u64) * u128::from(self.of)) >> 64 == u128::from(self.part)
    }

    /// Where in the range a hash's upper half lies, stretched to all numbers: monotonous, and even where hashes are.
    #[inline]
    pub(crate) fn stretch(self, upper: u64) -> u64 {
        upper.wrapping_mul(u64::from(self.of))
    }

    /// Whether it is the one that speaks for rows whose key cannot be read.
    pub(crate) fn is_first(self) -> bool {
        self.part == 0
    }
}

impl Default for Share {
    fn default() -> Share {
        Share::WHOLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_is_in_one_share_and_stretches_in_order() {
        for of in [1, 3, 4, 16, 1000] {
            let mut before = None;
            for step in 0..4096_u64 {
                let upper = step << 52 | step;
                let shares: Vec<u32> = (0..of).filter(|part| Share { part: *part, of }.has(u128::from(upper) << 64)).collect();
                assert_eq!(shares.len(), 1, "{upper:x} of {of}");
                let place = (shares[0], Share { part: shares[0], of }.stretch(upper));
                assert!(before.is_none_or(|before| before < place), "{upper:x} of {of}");
                before = Some(place);
            }
        }
    }
}
