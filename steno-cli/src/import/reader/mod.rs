//! Reads capture files: pcap in all its variants and pcapng, either of them gzip-compressed, from any [`std::io::Read`].
//!
//! Stands before step 3 of the data flow when packets come from a file and not from a wire. It knows nothing of stores and
//! writes nothing. A file may be cut, damaged or made to harm: every byte is checked before it is believed, no length that
//! a file states is allocated before the bytes are there, and the memory taken stays below [`RECORD_BYTES_MAX`] and a
//! little, whatever the file says.
//!
//! `pcap-file` reads the pcap file header and names link types here, and its readers and writers check this one in the
//! tests. Records and pcapng blocks are read by our own code, because `pcap-file` 3.0.0-rc.3 (measured)
//! - refuses a whole pcapng file for one interface whose `if_tsresol` is finer than a nanosecond (10⁻¹², 2⁻³²), or for one
//!   option that is not UTF-8 or has an unusual length;
//! - refuses packets whose original length is below the captured one, which 1.0.1's users have on disk;
//! - does not read Kuznetzov's modified pcap, nor pcap before version 2.3;
//! - cannot step over a record that exceeds its buffer, and reports it as the end of the file.
//!
//! ```
//! use steno_cli::import::reader::{CaptureReader, Record};
//!
//! let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0];
//! file.extend([7, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 60, 0, 0, 0, 1, 2, 3]);
//! let mut reader = CaptureReader::open(&file[..])?;
//! while let Some(record) = reader.next_record()? {
//!     if let Record::Packet(packet) = record {
//!         assert_eq!((packet.link_type, packet.wire_len, packet.data), (1, 60, &[1, 2, 3][..]));
//!         assert_eq!(packet.time.unwrap().as_ns(), 7_000_001_000);
//!     }
//! }
//! # Ok::<(), steno_cli::import::reader::ReadError>(())
//! ```

mod capture;
mod error;
mod input;
mod link_type;
mod order;
mod pcap;
mod pcapng;

pub use capture::{CaptureReader, Packet, Record};
pub use error::ReadError;
pub use input::RECORD_BYTES_MAX;
pub use link_type::{ETHERNET, link_type_name};
