//! Every integration test, as one binary.

mod api;
mod aws;
mod backend;
mod catalog;
mod charge;
mod claims;
mod contract;
mod events;
mod house;
mod infra;
mod journey;
mod looking_back;
mod parts;
mod retention;
mod serve;
mod simulation;
mod sources;
mod stack;
