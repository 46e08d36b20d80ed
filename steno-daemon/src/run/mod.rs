//! The daemon from its arguments to its end.
//!
//! The order of the start: what was asked for is read and held against the machine; the ports are bound, and whatever else takes
//! rights is done; the launcher is started; the process is confined (`prepare`), and has more than one thread from then on; the
//! store is opened; capture is started; the service manager is told. A fault before that is one clear message, and leaves nothing
//! running. The order of the end: no new requests; those under way get a bounded time; capture stops last, with its files
//! sealed.

mod daemon;
mod prepare;
mod settings;
mod signals;

pub use daemon::run;
pub(crate) use daemon::say;
pub use settings::sensor_settings;
