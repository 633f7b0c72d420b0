//! What the integration tests share: contracts that every backend keeps, and stand-ins for the world. Nothing of the product may import it.

pub mod aws;
pub mod charge;
pub mod client;
pub mod contract;
pub mod history;
pub mod memory;
pub mod office;
pub mod receiver;
pub mod simulation;
pub mod stack;
