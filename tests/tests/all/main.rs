//! Every integration test, as one binary.

mod api;
mod aws;
mod backend;
mod catalog;
mod contract;
mod house;
mod journey;
mod looking_back;
mod retention;
mod serve;
mod simulation;
mod sources;
