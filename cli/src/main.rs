//! The executable.
mod project;

fn main() {}
