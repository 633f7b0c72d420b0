//! The REST API over an office on memory: each route, who may ask what, and what is said when something is wrong.

mod asking_twice;
mod definitions;
mod document;
mod load;
mod matrix;
mod problems;
mod promise;
mod pushing;
mod runs;
mod schema;
mod stage;
mod trying_out;
pub(crate) mod work;
