//! The paths, and what a request to each comes to.

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{
    Extensions, HeaderMap, HeaderValue, Method as HttpMethod, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, TRAILER},
};
use steno_core::pcap::Format;

use super::{
    body::PcapBody,
    request::{Limits, Refusal, has_an_end, pass_over, takes_trailers, text},
    stats,
};
use crate::{
    access::Action,
    answer::{Answers, Ask, sensor::from},
    metrics::Method,
};

/// What is answered over HTTP.
pub(crate) fn routes(answers: Answers) -> Router {
    Router::new()
        .route("/query", post(query).fallback(wrong_method))
        .route("/debug/stats", get(show_stats))
        .with_state(answers)
}

async fn query(State(answers): State<Answers>, request: Request<Body>) -> Response {
    match begin(&answers, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

/// Asks what `request` asks for, and answers as soon as there is something to send.
async fn begin(answers: &Answers, request: Request<Body>) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let (asker, hang_up) = from(&head.extensions)?;
    // All of it, before anything is refused: as for `pass_over`.
    let text = text(&head.headers, body).await;
    let held = has_an_end(head.version).and_then(|()| Ok((Limits::of(&head.headers)?, text.clone()?)));
    let (Limits { max_bytes, max_packets }, text) = match held {
        Ok(held) => held,
        Err(refusal) => {
            answers.refuse(Method::HttpQuery, &asker, text.as_deref().ok(), refusal.why()).await;
            return Err(refusal);
        }
    };
    let query = answers.parse(Method::HttpQuery, &asker, &text).await?;
    let format = Format::PcapLegacy;
    let ask = Ask { format, max_packets, max_bytes, hang_up, text, ..Ask::new(asker, Method::HttpQuery, query) };
    let takes_trailers = takes_trailers(head.version, &head.headers);
    let body = PcapBody::begin(answers.packets(ask).await?, takes_trailers).await?;
    Ok(pcap(body, takes_trailers))
}

fn pcap(body: PcapBody, takes_trailers: bool) -> Response {
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    let _ = headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if takes_trailers {
        let _ = headers.insert(TRAILER, HeaderValue::from_static("Steno-Receipt"));
    }
    response
}

async fn wrong_method(method: HttpMethod, uri: Uri, headers: HeaderMap, body: Body) -> Refusal {
    pass_over(&headers, body).await;
    let path = uri.path();
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{path} takes POST with the query as the body, not {method}"))
}

async fn show_stats(State(answers): State<Answers>, extensions: Extensions) -> Response {
    if let Err(denied) = answers.let_in(&extensions, Action::Stats, "/debug/stats").await {
        return Refusal::from(denied).into_response();
    }
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], stats::text(&answers)).into_response()
}
