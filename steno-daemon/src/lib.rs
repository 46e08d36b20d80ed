//! The sensor: `stenographer` runs `stenotype`, keeps the disks within their bounds, and answers queries over mutual TLS
//! (steps 6 and 13 of the data flow).
#![forbid(unsafe_code)]

pub mod access;
pub mod answer;
pub mod audit;
pub mod capture;
pub mod catalogue;
pub mod config;
pub mod confine;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub mod launch;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod retention;
pub mod run;
pub mod scrub;
pub mod sensor;
pub mod serve;
mod unreadable;
