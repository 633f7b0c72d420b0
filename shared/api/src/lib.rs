//! HTTP in: the router of the REST API, its problems, its OpenAPI document and the page made from it. Handlers translate to verbs of
//! the engine. It must not know a backend, and decides nothing.

mod answer;
mod apply;
mod call;
mod check;
mod definition;
mod definitions;
mod deliveries;
mod desk;
mod destinations;
mod document;
mod events;
mod example;
mod json;
mod members;
mod office;
mod operation;
mod organization;
mod page;
mod parameters;
mod plans;
mod problem;
mod process;
mod push;
mod render;
mod repeat;
mod requests;
mod routes;
mod runs;
mod serve;
mod tokens;
mod view;

pub use desk::{Closed, Desk, Job, clerk};
pub use document::{document, document_text};
pub use office::{Office, Probed};
pub use serve::router;
