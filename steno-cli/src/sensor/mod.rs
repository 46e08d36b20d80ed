//! A sensor from the client's side: finding it, calling it, and its answers (step 14 of the data flow).
//!
//! - `Location` is where a sensor is, and the certificates to show it: from arguments, or from the configuration file.
//! - `Sensor` is a connection: TLS with our own handshake, so that what goes wrong there can be told in a sentence, and
//!   gRPC over it. Its calls block; the tasks that keep the connection run on a thread of their own.
//! - `Packets` and `FlowBatches` are answers under way. They end with a receipt or with an error, never quietly: what
//!   came without a receipt is a part of an answer, and what does not have the receipt's digest is none.
//! - `convert` turns messages into the types of steno-query, so that an answer looks the same from wherever it comes.
//!
//! Nothing here prints, and nothing here knows what is in a packet.

mod call;
mod connect;
mod convert;
mod error;
mod flows;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod location;
mod packets;
mod records;
mod wire;

pub(crate) use call::Sensor;
pub(crate) use convert::{estimate, gap, losses, receipt, segment_plan, unreadable, unsealed};
pub use error::{Handshake, SensorError};
pub(crate) use flows::{FlowBatches, NextFlows};
pub(crate) use location::Location;
pub use packets::SoFar;
pub(crate) use packets::{Ending, Next, Packets};
pub(crate) use records::pcap_packets;
