//! A client of the sensor: asks it over mutual TLS, as every command does, and holds whole answers.

use std::sync::{Arc, atomic::AtomicBool};

use steno_core::TimestampNs;
use steno_core::pcap::Format;
use steno_proto::v1::{FlowsRequest, QueryRequest, StatusResponse};
use steno_query::{Flow, Receipt};

use super::DemoError;
use super::watch::Watch;
use crate::sensor::{Ending, Location, Next, NextFlows, Sensor, SensorError, pcap_packets};

/// How long one answer may take; each takes some milliseconds.
const ANSWER_LIMIT_MS: u64 = 10_000;
/// A connection to the sensor.
pub(super) struct Client<'w> {
    sensor: Sensor,
    watch: &'w Watch,
}

/// One packet.
pub(super) struct Packet {
    pub(super) time: TimestampNs,
    pub(super) wire_len: u32,
    pub(super) frame: Vec<u8>,
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) packets: Vec<Packet>,
    pub(super) receipt: Receipt,
}

impl<'w> Client<'w> {
    /// Connects; none where nothing listens yet. `over` ends every wait.
    ///
    /// # Errors
    /// What the handshake says; [`DemoError::Interrupted`], [`DemoError::TimedOut`].
    pub(super) fn connect(
        location: &Location,
        watch: &'w Watch,
        over: &Arc<AtomicBool>,
    ) -> Result<Option<Self>, DemoError> {
        match Sensor::connect(location, over) {
            Ok(sensor) => Ok(Some(Self { sensor, watch })),
            Err(SensorError::Refused { .. }) => Ok(None),
            Err(error) => Err(failed(watch, "reach the sensor", error)),
        }
    }

    /// How the sensor fares.
    ///
    /// # Errors
    /// It would not say; [`DemoError::Interrupted`], [`DemoError::TimedOut`].
    pub(super) fn status(&self) -> Result<StatusResponse, DemoError> {
        self.sensor.status().map_err(|error| failed(self.watch, "ask the sensor how it fares", error))
    }

    /// The packets of a query.
    ///
    /// # Errors
    /// There is no whole answer; [`DemoError::Interrupted`], [`DemoError::TimedOut`].
    pub(super) fn packets(&self, query: &str) -> Result<Answer, DemoError> {
        let why = |error| failed(self.watch, &format!("ask `{query}`"), error);
        let request = QueryRequest { query: query.to_owned(), deadline_ms: ANSWER_LIMIT_MS, ..QueryRequest::default() };
        let mut answer = self.sensor.packets(request).map_err(why)?;
        let mut packets = Vec::new();
        loop {
            let records = match answer.next().map_err(why)? {
                Next::Records(records) => records,
                Next::Progress => continue,
                Next::End => break,
            };
            packets.extend(pcap_packets(Format::PcapNs, &records).map(|(time, wire_len, frame)| Packet {
                time,
                wire_len,
                frame: frame.to_vec(),
            }));
        }
        let ending =
            answer.ending().cloned().ok_or_else(|| SensorError::Nonsense("an answer without a receipt".into()));
        let receipt = receipt(ending.map_err(why)?, query)?;
        Ok(Answer { packets, receipt })
    }

    /// The conversations of a query.
    ///
    /// # Errors
    /// As [`Self::packets`].
    pub(super) fn flows(&self, query: &str) -> Result<Vec<Flow>, DemoError> {
        let why = |error| failed(self.watch, &format!("ask `{query}`"), error);
        let request = FlowsRequest { query: query.to_owned(), deadline_ms: ANSWER_LIMIT_MS };
        let mut answer = self.sensor.flows(request).map_err(why)?;
        let mut flows = Vec::new();
        loop {
            match answer.next().map_err(why)? {
                NextFlows::Flows(batch) => flows.extend(batch),
                NextFlows::Progress => {}
                NextFlows::End(ending) => return receipt(*ending, query).map(|_| flows),
            }
        }
    }
}

/// The receipt, unless the sensor adds that something went wrong.
fn receipt(ending: Ending, query: &str) -> Result<Receipt, DemoError> {
    match ending.said {
        None => Ok(ending.receipt),
        Some(said) => Err(DemoError::at(format!("ask `{query}`"))(said)),
    }
}

/// What became of a call. One that was ended from here says so itself.
fn failed(watch: &Watch, what: &str, error: SensorError) -> DemoError {
    match (watch.check(), error) {
        (Err(ended), SensorError::Interrupted(_)) => ended,
        (_, error) => DemoError::at(what)(error),
    }
}
