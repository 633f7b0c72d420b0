//! The nouns, a file each.

pub mod change;
