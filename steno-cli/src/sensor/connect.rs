//! Reaching a sensor: its address, the handshake, and what to say where there is none.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, Error};
use rustls_pki_types::ServerName;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::{
    Handshake, Location, SensorError,
    wire::{Fate, Wire},
};

/// For each address of a host.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The window of a stream of HTTP/2. With its default of 64 KiB the sensor waits for our word at every turn (measured: 1.0 to
/// 1.7 times the bytes a second with these windows and frames).
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// The largest frame: a chunk goes in one.
const FRAME_BYTES: u32 = 1 << 20;
/// How often a sensor that says nothing is asked whether it is there, and by when it must have answered.
const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_WITHIN: Duration = Duration::from_secs(20);

/// A channel to the sensor, over a connection that stands. It is not made again when it is lost: an answer that was under way
/// is lost with it, and a command makes one call.
pub(super) async fn channel(location: &Location, config: ClientConfig, fate: &Fate) -> Result<Channel, SensorError> {
    let tcp = reach(location).await?;
    let _best_effort = tcp.set_nodelay(true);
    let stream = shake_hands(location, config, tcp).await?;
    let mut stream = Some(TokioIo::new(Wire::new(stream, fate.clone())));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the connection is lost"));
        std::future::ready(stream)
    });
    // TLS is the connector's business; the name is for the `:authority` of requests.
    let endpoint = Endpoint::from_shared(format!("http://{}", location.shown())).map_err(SensorError::Channel)?;
    let endpoint = endpoint
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    endpoint.connect_with_connector(connector).await.map_err(SensorError::Channel)
}

/// The first address of the host that takes a connection.
async fn reach(location: &Location) -> Result<TcpStream, SensorError> {
    let sensor = location.shown();
    let found = timeout(CONNECT_WITHIN, lookup_host((location.host.as_str(), location.port))).await;
    let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let addresses: Vec<_> = match found {
        Ok(addresses) => addresses.collect(),
        Err(source) => return Err(SensorError::Resolve { host: location.host.clone(), source }),
    };
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(match failed.kind() {
        io::ErrorKind::ConnectionRefused => SensorError::Refused { sensor },
        io::ErrorKind::TimedOut => SensorError::Silent { sensor },
        _ => SensorError::Connect { sensor, source: failed },
    })
}

async fn shake_hands(
    location: &Location,
    mut config: ClientConfig,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, SensorError> {
    let sensor = location.shown();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(location.host.clone());
    let name = name.map_err(|_| SensorError::BadServer { text: location.host.clone() })?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let why = match timeout(HANDSHAKE_WITHIN, handshake).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => why(error),
        Err(_) => Handshake::Silent,
    };
    Err(SensorError::Handshake { sensor, certs: location.certs.clone(), why })
}

/// Why a handshake failed.
fn why(error: io::Error) -> Handshake {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(why)) => Handshake::of_certificate(why),
        Some(Error::AlertReceived(alert)) => Handshake::OurCertificate(*alert),
        Some(Error::InvalidMessage(_)) => Handshake::NotTls,
        _ => Handshake::Other(error),
    }
}
