//! The REST API over an office on memory: each route, who may ask what, and what is said when something is wrong.

mod definitions;
mod document;
mod stage;
