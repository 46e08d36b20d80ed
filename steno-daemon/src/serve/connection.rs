//! One connection, from its handshake to its end.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin};

use axum::{Router, body::Body};
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::{ServiceExt, service_fn};
use tracing::{debug, warn};

use super::{
    Peer, Tuning,
    flight::{Flights, Verdict},
    peer::Known,
    standing::Standing,
    stopping::Stopping,
    tuning::{CONNECTION_WINDOW_BYTES, FRAME_BYTES, HEADER_BYTES, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES},
    watched::Watched,
};
use crate::{
    access::Access,
    answer::{HangUp, Turn},
};

/// Takes `tcp` through the handshake.
///
/// # Errors
/// Why not, in words.
pub(super) async fn shake_hands(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    tuning: &Tuning,
) -> Result<TlsStream<TcpStream>, String> {
    // Small messages (headers, a receipt) are not to wait for company.
    tcp.set_nodelay(true).map_err(|e| e.to_string())?;
    match timeout(tuning.handshake_within, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(e)) => Err(super::refusal::handshake_reason(&e)),
        Err(_) => Err(format!("no handshake within {} s", tuning.handshake_within.as_secs_f32())),
    }
}

/// Who is at the other end of `stream`.
pub(super) fn peer(stream: &TlsStream<TcpStream>, address: SocketAddr, known: &Known, access: &Access) -> Peer {
    let (_, tls) = stream.get_ref();
    Peer::new(address, tls.peer_certificates(), known, access)
}

/// Answers what comes over `stream`, until the client goes, the connection is of age, its certificate is over, or the daemon
/// stops. Says whether it was the certificate.
pub(super) async fn serve(
    stream: TlsStream<TcpStream>,
    peer: Peer,
    standing: Standing,
    router: Router,
    tuning: Tuning,
    stopping: Stopping,
) -> bool {
    let (_, tls) = stream.get_ref();
    let builder = builder(&tuning, tls.alpn_protocol());
    debug!("{peer} is connected");
    let (hang_up, flights) = (HangUp::default(), Flights::new());
    let service = service_fn({
        let (peer, hang_up, flights, turn) = (peer.clone(), hang_up.clone(), flights.clone(), Turn::default());
        move |mut request: Request<Incoming>| {
            let flight = flights.begin();
            debug!("{peer}: {} {}", request.method(), request.uri().path());
            let _ = request.extensions_mut().insert(peer.asker().clone());
            let _ = request.extensions_mut().insert(hang_up.clone());
            let _ = request.extensions_mut().insert(turn.clone());
            let router = router.clone();
            let request = request.map(|body| Body::new(flight.request(body, &tuning)));
            async move {
                flight.is_asked_for();
                let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
                Ok::<_, Infallible>(response.map(|body| flight.answer(body)))
            }
        }
    });
    let stream = TokioIo::new(Watched::new(stream, flights.clone()));
    let mut connection = pin!(builder.serve_connection(stream, TowerToHyperService::new(service)));
    let mut over = pin!(standing.clone().over());
    let no_more_requests = async {
        tokio::select! {
            () = tokio::time::sleep(tuning.connection_age) => {}
            why = standing.stale() => debug!("{peer} may ask for nothing more: {why}"),
            () = stopping.draining() => {}
        }
    };
    tokio::select! {
        // First, for what is over is stale, too.
        biased;
        why = over.as_mut() => return put_out(&peer, &why),
        ended = connection.as_mut() => return ended_with(&peer, ended),
        () = hang_up.asked() => return hung_up(&peer),
        verdict = flights.verdict(&tuning) => match verdict {
            Verdict::Stalled => return hung_up(&peer),
            Verdict::Idle => connection.as_mut().graceful_shutdown(),
        },
        () = no_more_requests => connection.as_mut().graceful_shutdown(),
    }
    // What is under way may come to its end; who does not go after that is not waited for.
    let rest = Tuning { idle_after: tuning.pong_within, header_within: tuning.pong_within, ..tuning };
    tokio::select! {
        why = over => put_out(&peer, &why),
        ended = connection.as_mut() => ended_with(&peer, ended),
        () = hang_up.asked() => hung_up(&peer),
        verdict = flights.verdict(&rest) => match verdict {
            Verdict::Stalled => hung_up(&peer),
            Verdict::Idle => {
                debug!("{peer} was disconnected: it has not gone by itself");
                false
            }
        },
        () = stopping.closing() => {
            debug!("{peer} was disconnected by the stop");
            false
        }
    }
}

/// What is being answered is cut off: an error to the client, who is not to take it for a whole answer.
fn put_out(peer: &Peer, why: &str) -> bool {
    warn!("put {peer} out: {why}");
    true
}

fn hung_up(peer: &Peer) -> bool {
    warn!("hung up on {peer}: it took nothing of an answer for too long, not even its end");
    false
}

fn ended_with(peer: &Peer, result: Result<(), Box<dyn std::error::Error + Send + Sync>>) -> bool {
    match result {
        Ok(()) => debug!("{peer} has gone"),
        Err(e) => {
            let hung_up = e.downcast_ref::<io::Error>().map(io::Error::kind);
            debug!("the connection of {peer} has ended: {e} ({hung_up:?})");
        }
    }
    false
}

/// HTTP/2 or HTTP/1.1, whichever the two agreed on in the handshake.
fn builder(tuning: &Tuning, protocol: Option<&[u8]>) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let _ = builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADER_BYTES)
        .max_concurrent_streams(tuning.most_streams)
        .keep_alive_interval(tuning.ping_every)
        .keep_alive_timeout(tuning.pong_within);
    let _ = builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(tuning.header_within)
        .max_buf_size(HEADER_BYTES as usize)
        .keep_alive(true);
    match protocol {
        Some(b"h2") => builder.http2_only(),
        Some(b"http/1.1") => builder.http1_only(),
        _ => builder,
    }
}
