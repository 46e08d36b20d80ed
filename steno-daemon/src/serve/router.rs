//! Which request goes where.

use axum::{
    Router,
    body::Body,
    extract::State,
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{Extensions, HeaderMap, HeaderValue, Request, StatusCode, header::CONTENT_TYPE};
use steno_proto::legacy::stenographer_server::StenographerServer;
use tonic::{Code, service::Routes};

use super::{Health, ServeError, tuning::MESSAGE_BYTES};
use crate::{
    access::{Action, Asker},
    answer::{Answers, LegacyService, Services, Turn, http_routes, pass_over},
    metrics,
};

/// The port that serves everything.
pub(super) fn everything(answers: &Answers, services: Services, health: &Health) -> Result<Router, ServeError> {
    let reflection = || {
        // Each version would describe itself alone.
        tonic_reflection::server::Builder::configure()
            .include_reflection_service(false)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(steno_proto::FILE_DESCRIPTOR_SET)
            // What the details of a status are made of.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let grpc = Routes::new(services.sensor.max_decoding_message_size(MESSAGE_BYTES))
        .add_service(services.legacy.max_decoding_message_size(MESSAGE_BYTES))
        .add_service(health.service().max_decoding_message_size(MESSAGE_BYTES))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let http = Router::new().route("/metrics", get(show_metrics)).with_state(answers.clone());
    Ok(finish(grpc.into_axum_router().merge(http).merge(http_routes(answers.clone())), answers))
}

/// `Rpc.ServerPort`, which serves what it did in stenographer 1.0.1.
pub(super) fn legacy_alone(answers: &Answers, service: StenographerServer<LegacyService>) -> Router {
    let grpc = Routes::new(service.max_decoding_message_size(MESSAGE_BYTES));
    finish(grpc.into_axum_router(), answers)
}

fn finish(router: Router, answers: &Answers) -> Router {
    let gate = from_fn_with_state(answers.clone(), whom_a_rule_is_for);
    router.fallback(nothing_there).layer(gate).layer(map_response(too_large))
}

async fn show_metrics(State(answers): State<Answers>, extensions: Extensions) -> Response {
    if let Err(denied) = answers.let_in(&extensions, Action::Metrics, "/metrics").await {
        return (StatusCode::FORBIDDEN, format!("{denied}\n")).into_response();
    }
    let metrics = answers.metrics().clone();
    let encoded = answers.blocking(&Turn::of(&extensions), move || metrics.encode()).await;
    match encoded.map_err(|e| e.to_string()).and_then(|encoded| encoded.map_err(|e| e.to_string())) {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write the metrics: {e}\n")).into_response(),
    }
}

/// Whom there is no rule for gets nothing, whatever it is. Each kind of client gets the answer that it understands.
async fn whom_a_rule_is_for(State(answers): State<Answers>, request: Request<Body>, next: Next) -> Response {
    let Err(denied) = Asker::of(request.extensions()).and_then(Asker::may_enter) else {
        return next.run(request).await;
    };
    let (head, body) = request.into_parts();
    if let Ok(asker) = Asker::of(&head.extensions) {
        answers.turned_away(asker, head.uri.path(), &denied.to_string()).await;
    }
    if is_grpc(&head.headers) {
        return tonic::Status::from(denied).into_http::<Body>().into_response();
    }
    pass_over(&head.headers, body).await;
    (StatusCode::FORBIDDEN, format!("{denied}\n")).into_response()
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Each kind of client gets the answer that it understands.
async fn nothing_there(request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if is_grpc(&head.headers) {
        return tonic::Status::unimplemented(format!("there is no method {path} here")).into_http::<Body>();
    }
    pass_over(&head.headers, body).await;
    (StatusCode::NOT_FOUND, format!("there is nothing at {path}\n")).into_response()
}

/// tonic calls a message that is too large "out of range"; the rest of gRPC says "resource exhausted".
async fn too_large(mut response: Response) -> Response {
    const STATUS: &str = "grpc-status";
    let is = |code: Code| HeaderValue::from(code as i32);
    if response.headers().get(STATUS) == Some(&is(Code::OutOfRange)) {
        let _ = response.headers_mut().insert(STATUS, is(Code::ResourceExhausted));
    }
    response
}
