//! Every integration test, as one binary.

mod contract;
