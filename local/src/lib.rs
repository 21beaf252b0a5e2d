//! One machine as AWS: the very handlers that are deployed, between real HTTP servers that behave as AWS's do.
//!
//! [`Runtime`] puts them together. [`gateway`]: WebSocket API and `@connections`. `functions`, `processes` and `queue`: Lambda.
//! `tables` and `streams`: DynamoDB and the stream mapping. `bus`: EventBridge. Handlers are handed SDK configurations
//! that point here, and see only the JSON they would see on AWS. `page` and `inspect`: what a browser sees of it.

mod archive;
mod aws;
mod bus;
mod calls;
mod chaos;
mod error;
mod faults;
#[cfg(test)]
mod fidelity;
mod files;
mod folder;
mod functions;
pub mod gateway;
mod inspect;
mod meter;
mod observer;
mod page;
mod plan;
mod processes;
mod public;
mod queue;
mod randomness;
mod runtime;
pub mod runtime_api;
mod simulation;
mod store;
mod streams;
mod tables;

pub use archive::Archive;
pub use bus::{BUS, first_sweep};
pub use chaos::{Chaos, Teller};
pub use error::StartError;
pub use faults::{Effect, Faults, Struck};
pub use folder::Holder;
pub use functions::{FunctionError, Functions};
pub use meter::{Meter, Metered};
pub use plan::{Calls, Plan};
pub use runtime::{Data, Mode, Options, Runtime, routes, sdk_config};
pub use simulation::{Dialler, Simulation};
pub use tables::{CONNECTIONS, EVENTS, PARKED};
