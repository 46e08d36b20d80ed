//! Runs the capture process: steps 1 to 5 of the data flow happen in a child, `stenotype`, and this module starts it,
//! listens to it, starts it again when it ended, and says which segments it published.
//!
//! - [`Capture`] keeps one capture process running, one for each interface; it never ends the daemon, whatever becomes
//!   of its child.
//! - [`SegmentWatch`] says which segments there are, from the child's own messages and from the directories themselves,
//!   so that a foreign stenotype (1.0.1's) does as well.
//! - [`OpenFiles`] are the logs of the files that are being written, for those who answer.
//!
//! It opens no socket ring and reads no packet. Whether it starts the child itself, or has [`crate::launch`] start it, makes no
//! difference to who asks. Nothing here needs the async runtime: two threads that sleep in poll(2).

mod account;
mod attend;
mod backoff;
mod control;
mod directory;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod lines;
mod meeting;
mod open_files;
mod prepared;
mod process;
mod segments;
mod settings;
mod status;
mod supervisor;

pub use backoff::BackoffPolicy;
pub use control::{CONTROL_FD_VARIABLE, ControlError, Counters, Message, parse};
pub use open_files::OpenFiles;
pub use prepared::Prepared;
pub use process::Exit;
pub(crate) use process::NOT_FOR_CHILDREN;
pub use segments::{Change, SegmentEvent, SegmentWatch};
pub use settings::{CaptureError, CaptureSettings, Source, ThreadDirectories};
pub use status::{CaptureStatus, ChildState, Kind, LastExit, Outage};
pub use supervisor::{Capture, CaptureWatcher, OnSealed};
