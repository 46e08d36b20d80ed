//! A connection to a sensor, and the calls that are made on it.

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use steno_core::pcap::Format;
use steno_proto::{
    certs::{ClientTls, client_tls},
    v1::{
        CaptureFormat, ExplainRequest, ExplainResponse, FlowsRequest, QueryRequest, StatusRequest, StatusResponse,
        sensor_client::SensorClient,
    },
};
use steno_query::plain_lines;
use tokio::{
    runtime::{Builder, Runtime},
    select,
    time::sleep,
};
use tonic::{Code, Response, Status, Streaming, transport::Channel};

use super::{FlowBatches, Handshake, Location, Packets, SensorError, SoFar, connect::channel, wire::Fate};

/// How often a wait looks whether it was interrupted.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The largest message that is taken: a receipt may name many files.
const MESSAGE_BYTES: usize = 64 << 20;

/// A connection to a sensor. Each call waits for its answer, or until the flag of [`Self::connect`] is set.
pub(crate) struct Sensor {
    /// Taken out only to be shut down. One thread of it keeps the connection while the caller is busy with what came: it
    /// answers the sensor's pings, and decrypts the next chunk.
    runtime: Option<Runtime>,
    client: SensorClient<Channel>,
    tls: ClientTls,
    location: Location,
    fate: Fate,
    interrupted: Arc<AtomicBool>,
}

impl Sensor {
    /// Connects. `interrupted` ends this and every wait after it.
    ///
    /// # Errors
    /// The certificates cannot be used, nothing answers, or the two do not agree on TLS.
    pub(crate) fn connect(location: &Location, interrupted: &Arc<AtomicBool>) -> Result<Self, SensorError> {
        let tls = client_tls(&location.certs)?;
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(SensorError::Runtime)?;
        let fate = Fate::default();
        let connected = runtime.block_on(async {
            select! {
                biased;
                () = raised(interrupted) => Err(SensorError::Interrupted(SoFar::Nothing)),
                channel = channel(location, tls.config.clone(), &fate) => channel,
            }
        });
        let client = match connected {
            Ok(channel) => SensorClient::new(channel).max_decoding_message_size(MESSAGE_BYTES),
            Err(error) => {
                // A look-up of a name may go on for long, and nobody waits for it.
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let (location, interrupted) = (location.clone(), Arc::clone(interrupted));
        Ok(Self { runtime: Some(runtime), client, tls, location, fate, interrupted })
    }

    /// A sentence for people where the sensor is known by the common name of its certificate alone.
    pub(crate) fn warning(&self) -> Option<String> {
        self.tls.matched_by_common_name().then(|| {
            format!(
                "warning: the certificate of {} names its host as stenographer 1.0.1 had it, in its common name; other \
                 clients refuse that: make the sensor another certificate (`steno keys init`)",
                self.location.shown()
            )
        })
    }

    /// How the sensor fares.
    ///
    /// # Errors
    /// The sensor would not say, or was lost.
    pub(crate) fn status(&self) -> Result<StatusResponse, SensorError> {
        let mut client = self.client.clone();
        self.wait(client.status(StatusRequest {})).map(Response::into_inner)
    }

    /// Begins an answer in packets.
    ///
    /// # Errors
    /// The query does not parse, the sensor would not answer, or was lost.
    pub(crate) fn packets(&self, request: QueryRequest) -> Result<Packets<'_>, SensorError> {
        let format = match request.format() {
            CaptureFormat::Unspecified | CaptureFormat::PcapNs => Format::PcapNs,
            CaptureFormat::Pcap => Format::Pcap,
            CaptureFormat::Pcapng => Format::PcapNg,
        };
        let mut client = self.client.clone();
        let stream = self.wait(client.query(request))?.into_inner();
        Ok(Packets::new(Box::new(Answer { sensor: self, stream }), format))
    }

    /// Begins an answer in flows.
    ///
    /// # Errors
    /// As [`Self::packets`].
    pub(crate) fn flows(&self, request: FlowsRequest) -> Result<FlowBatches<'_>, SensorError> {
        let mut client = self.client.clone();
        let stream = self.wait(client.flows(request))?.into_inner();
        Ok(FlowBatches::new(Box::new(Answer { sensor: self, stream })))
    }

    /// Says how a query is understood.
    ///
    /// # Errors
    /// As [`Self::packets`].
    pub(crate) fn explain(&self, request: ExplainRequest) -> Result<ExplainResponse, SensorError> {
        let mut client = self.client.clone();
        self.wait(client.explain(request)).map(Response::into_inner)
    }

    /// Waits for what was asked.
    fn wait<T>(&self, asked: impl Future<Output = Result<T, Status>>) -> Result<T, SensorError> {
        let Some(runtime) = &self.runtime else { return Err(self.lost("it is closed".to_owned())) };
        runtime.block_on(async {
            select! {
                biased;
                () = raised(&self.interrupted) => Err(SensorError::Interrupted(SoFar::Nothing)),
                answer = asked => answer.map_err(|status| self.why(&status)),
            }
        })
    }

    /// What a status means: the sensor's word, or the end of the connection.
    fn why(&self, status: &Status) -> SensorError {
        let handshake = |why| {
            let (sensor, certs) = (self.location.shown(), self.location.certs.clone());
            SensorError::Handshake { sensor, certs, why }
        };
        // What came from the sensor has no cause here.
        let Some(cause) = status.source() else {
            return match status.code() {
                Code::InvalidArgument if !status.details().is_empty() => {
                    SensorError::Query(plain_lines(status.message()))
                }
                code => SensorError::Said { code, message: plain_lines(status.message()) },
            };
        };
        if let Some(alert) = self.fate.alert().filter(|_| !self.fate.has_answered()) {
            return handshake(Handshake::OurCertificate(alert));
        }
        if !self.fate.has_answered() {
            return handshake(Handshake::ClosedAtOnce);
        }
        self.lost(self.fate.ended().map_or_else(|| crate::command::chain(cause), str::to_owned))
    }

    fn lost(&self, why: String) -> SensorError {
        SensorError::Lost { sensor: self.location.shown(), why }
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The messages of an answer. Dropped before the last, it ends the work of the sensor.
struct Answer<'s, M> {
    sensor: &'s Sensor,
    stream: Streaming<M>,
}

impl<M> Incoming<M> for Answer<'_, M> {
    fn next(&mut self) -> Result<Option<M>, SensorError> {
        self.sensor.wait(self.stream.message())
    }
}

/// Where the messages of an answer come from.
pub(super) trait Incoming<M> {
    /// The next message; none at the end.
    fn next(&mut self) -> Result<Option<M>, SensorError>;

    /// What the sensor says after a receipt: nothing, or why the answer must not be taken for a whole one.
    fn last_word(&mut self) -> Result<Option<String>, SensorError> {
        match self.next() {
            Ok(Some(_)) => Err(SensorError::Nonsense("more of an answer after its receipt".to_owned())),
            Err(error @ SensorError::Said { .. }) => Ok(Some(error.to_string())),
            // All of the answer has come; how the connection ends does not matter to it any more.
            Ok(None) | Err(_) => Ok(None),
        }
    }
}

async fn raised(flag: &AtomicBool) {
    while !flag.load(Ordering::Relaxed) {
        sleep(LOOK_EVERY).await;
    }
}
