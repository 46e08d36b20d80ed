//! What the daemon may still do once it serves: its files, its port, and no more.
//!
//! Clients write requests, queries and certificates, and senders of packets what indexes are of; this process parses all that.
//! Whoever makes it do something else finds no capability, no program that can be started, no socket but Unix ones, no file but
//! those that the daemon keeps, and no call into the parts of the kernel that a server has no use for. stenotype, which needs
//! privileges as it starts, is started by another process ([`crate::launch`]).
//!
//! A call that is not in the table fails with EPERM, as under the service manager's own filter (systemd.exec(5),
//! `SystemCallFilter=`): TLS and the runtime of tasks come from many hands, and where one of them asks for something
//! more, it has to be answered, not the sensor ended. What the system does not offer is told in the log, and left out.

mod calls;
mod steps;

pub use steps::{Reach, hide, serve_only};
pub(crate) use steps::{directory_of, launcher};
