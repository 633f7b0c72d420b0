//! Chance and fresh names: the only place that asks the system for randomness.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Numbers for jitter: splitmix64, seeded by the system.
#[derive(Debug)]
pub struct Chance(u64);

impl Default for Chance {
    fn default() -> Chance {
        Chance::new()
    }
}

impl Chance {
    /// A new sequence.
    pub fn new() -> Chance {
        Chance(random())
    }

    /// A number in 0..1.
    pub fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// 64 bits that no other process has.
pub fn random() -> u64 {
    // RandomState takes its keys from the operating system.
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// A name of that kind, in the order of time: `run_06c1m2k3n4p5q6r7`.
pub fn fresh_name(kind: &str, wall_micros: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let number = (u128::from(wall_micros / 1000) << 32) | u128::from(random() as u32);
    let digits: String = (0..16).rev().map(|place| DIGITS[(number >> (place * 5)) as usize & 31] as char).collect();
    format!("{kind}_{digits}")
}
