//! An answer in packets, as it comes.

use bytes::Bytes;
use steno_core::pcap::Format;
use steno_proto::v1::{QueryResponse, query_response::Part};
use steno_query::Receipt;

use super::{SensorError, call::Incoming, convert, records::Records};

/// What of an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoFar {
    /// Nothing, and nothing could have.
    Nothing,
    /// A part of a capture file.
    Packets {
        /// Whole packets.
        packets: u64,
        /// Bytes, those of the file's own headers included.
        bytes: u64,
    },
    /// A part of a list.
    Flows(u64),
}

/// An answer in packets. Its bytes are those of a capture file, whole records at a time.
pub(crate) struct Packets<'s> {
    answer: Box<dyn Incoming<QueryResponse> + 's>,
    records: Records,
    digest: blake3::Hasher,
    bytes: u64,
    ending: Option<Ending>,
}

/// What the end of an answer says.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// The receipt.
    pub(crate) receipt: Receipt,
    /// What the sensor adds to it where something went wrong.
    pub(crate) said: Option<String>,
}

/// What comes next.
pub(crate) enum Next {
    /// Records, or nothing yet.
    Records(Bytes),
    /// The sensor is at work and has nothing to give.
    Progress,
    /// The end.
    End,
}

impl<'s> Packets<'s> {
    pub(super) fn new(answer: Box<dyn Incoming<QueryResponse> + 's>, format: Format) -> Self {
        let (records, digest) = (Records::new(format), blake3::Hasher::new());
        Self { answer, records, digest, bytes: 0, ending: None }
    }

    /// Waits for what comes next: whole records. At the end, the last message was a receipt, and what came is what it says.
    ///
    /// # Errors
    /// The answer broke off, was interrupted, or is not what the receipt says. What came before stands.
    pub(crate) fn next(&mut self) -> Result<Next, SensorError> {
        let message = match self.answer.next() {
            Ok(message) => message,
            Err(error) => return Err(self.cut(error)),
        };
        let Some(message) = message else {
            return match self.ending {
                Some(_) => Ok(Next::End),
                None => Err(self.cut_by("the sensor ended it without a word".to_owned())),
            };
        };
        match message.part {
            Some(Part::Chunk(chunk)) => {
                let _same = self.digest.update(&chunk);
                self.bytes += chunk.len() as u64;
                self.records.take(chunk).map(Next::Records)
            }
            Some(Part::Progress(_)) => Ok(Next::Progress),
            Some(Part::Receipt(receipt)) => {
                // As the file should end with a record, this is empty.
                let rest = self.records.rest();
                self.end(convert::receipt(receipt))?;
                Ok(Next::Records(rest))
            }
            // A part that this version does not know.
            None => Ok(Next::Records(Bytes::new())),
        }
    }

    /// What has come.
    pub(crate) fn so_far(&self) -> SoFar {
        SoFar::Packets { packets: self.records.packets(), bytes: self.bytes }
    }

    /// The receipt, once it has come.
    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Holds what came against the receipt, and waits for the sensor's last word.
    fn end(&mut self, receipt: Receipt) -> Result<(), SensorError> {
        let (packets, digest) = (self.records.packets(), self.digest.finalize().to_hex());
        if receipt.bytes != self.bytes || receipt.packets != packets {
            return Err(SensorError::Damaged(format!(
                "{packets} packets in {} bytes came, and the receipt tells of {} in {}",
                self.bytes, receipt.packets, receipt.bytes
            )));
        }
        if receipt.blake3.as_deref() != Some(digest.as_str()) {
            let told = receipt.blake3.as_deref().unwrap_or("none");
            return Err(SensorError::Damaged(format!("its BLAKE3 is {digest}, that of the receipt {told}")));
        }
        self.ending = Some(Ending { receipt, said: self.answer.last_word()? });
        Ok(())
    }

    fn cut(&self, error: SensorError) -> SensorError {
        match error {
            SensorError::Interrupted(_) => SensorError::Interrupted(self.so_far()),
            error => self.cut_by(crate::command::chain(&error)),
        }
    }

    fn cut_by(&self, why: String) -> SensorError {
        SensorError::Cut { so_far: self.so_far(), why }
    }
}
