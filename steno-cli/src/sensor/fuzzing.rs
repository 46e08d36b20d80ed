//! What the fuzz targets reach of a sensor's answers ([`crate::fuzzing`]).

use std::path::Path;

use steno_core::pcap::Format;
use steno_proto::v1::{FlowsResponse, QueryResponse};
use steno_query::{Flow, Receipt};

use super::{
    FlowBatches, Location, Next, NextFlows, Packets, SensorError, SoFar, call::Incoming, packets::Ending, pcap_packets,
};

/// What became of an answer.
#[derive(Debug)]
pub struct Answered {
    /// The bytes of the capture file that were handed on.
    pub bytes: Vec<u8>,
    /// How many packets those were taken for.
    pub packets: u64,
    /// How many packets are found in them to be shown, where they are a pcap.
    pub shown: Option<u64>,
    /// The receipt and what was said after it; else why the answer was not taken for a whole one.
    pub ended: Result<(Receipt, Option<String>), String>,
}

/// Messages that have come already.
struct Come<I>(I);

impl<M, I: Iterator<Item = M>> Incoming<M> for Come<I> {
    fn next(&mut self) -> Result<Option<M>, SensorError> {
        Ok(self.0.next())
    }
}

/// Takes an answer in packets.
pub fn packets(format: Format, messages: Vec<QueryResponse>) -> Answered {
    let mut answer = Packets::new(Box::new(Come(messages.into_iter())), format);
    let mut answered = Answered { bytes: Vec::new(), packets: 0, shown: None, ended: Err(String::new()) };
    let mut shown = 0;
    let ended = loop {
        match answer.next() {
            Ok(Next::Records(records)) => {
                if !matches!(format, Format::PcapNg) {
                    shown += pcap_packets(format, &records).count() as u64;
                }
                answered.bytes.extend_from_slice(&records);
            }
            Ok(Next::Progress) => {}
            Ok(Next::End) => break Ok(()),
            Err(error) => break Err(error.to_string()),
        }
    };
    if let SoFar::Packets { packets, .. } = answer.so_far() {
        answered.packets = packets;
    }
    answered.shown = (!matches!(format, Format::PcapNg)).then_some(shown);
    answered.ended = ended.and_then(|()| match answer.ending().cloned() {
        Some(Ending { receipt, said }) => Ok((receipt, said)),
        None => Err("an end without a receipt".to_owned()),
    });
    answered
}

/// Takes an answer in flows.
///
/// # Errors
/// Why it was not taken for a whole one.
pub fn flows(messages: Vec<FlowsResponse>) -> (Vec<Flow>, Result<Receipt, String>) {
    let mut answer = FlowBatches::new(Box::new(Come(messages.into_iter())));
    let mut all = Vec::new();
    loop {
        match answer.next() {
            Ok(NextFlows::Flows(flows)) => all.extend(flows),
            Ok(NextFlows::Progress) => {}
            Ok(NextFlows::End(ending)) => return (all, Ok(ending.receipt)),
            Err(error) => return (all, Err(error.to_string())),
        }
    }
}

/// The host, the port and the directory of certificates of a sensor whose configuration this is.
///
/// # Errors
/// Why it is none.
pub fn location(config: &str) -> Result<(String, u16, String), String> {
    let location = Location::of_text(config, Path::new("config")).map_err(|error| error.to_string())?;
    let certs = location.certs.path().display().to_string();
    Ok((location.host, location.port, certs))
}
