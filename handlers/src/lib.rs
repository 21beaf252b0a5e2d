//! The Lambdas: one file each, behind one binary.
//!
//! Routes: [`connect`], [`disconnect`], [`broadcast`], [`list`], [`chat`], [`fallback`] append events and answer.
//! Behind the stream: [`projector`] keeps the view and publishes notices. Behind the bus: [`post`] pushes, [`manage`]
//! reconciles. [`Function`] is the registry that `bootstrap` and the local runtime share.

pub mod broadcast;
mod bus;
pub mod chat;
pub mod connect;
pub mod disconnect;
pub mod fallback;
mod fan_out;
mod frames;
mod gateway;
#[doc(hidden)]
pub mod hostile;
pub mod list;
pub mod manage;
mod parked;
pub mod post;
pub mod projector;
mod pusher;
mod registry;
mod request;
mod roots;
mod sdk;
mod service;
mod settings;

pub use bus::{Bus, Unpublished};
pub use gateway::{Dial, Dialing, Stream};
pub use parked::{Parked, ParkedRecord};
pub use registry::Function;
pub use roots::{Roots, UnusableRoots};
pub use sdk::sdk_from_env;
pub use service::{Answer, Fault, Payload, Service};
pub use settings::{InvalidSetting, Settings, VARIABLES};
