//! Every integration test, as one binary.

mod backend;
mod contract;
mod house;
mod journey;
mod simulation;
