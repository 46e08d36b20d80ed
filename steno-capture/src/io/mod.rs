//! From the ring to the disk (step 4 of the data flow): packet files, and the ways to write blocks into them.

mod packet_file;
mod writer;

pub(crate) use packet_file::PacketFile;
pub(crate) use writer::Writer;
