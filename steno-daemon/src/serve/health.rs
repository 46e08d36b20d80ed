//! The standard health service (`grpc.health.v1`), for those who watch sensors from outside.

use std::sync::Arc;

use steno_proto::{legacy::stenographer_server, v1::sensor_server};
use tokio::sync::Mutex;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// The name under which the health of capture is asked for; the others are the names of the gRPC services, and the empty one,
/// which stands for queries.
pub const CAPTURE: &str = "capture";

/// What the health service says. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
    /// What was said last of capture, so that those who watch hear of changes alone.
    capturing: Arc<Mutex<Option<bool>>>,
}

/// The names that stand for the answering of queries.
const ANSWERS: [&str; 3] = ["", sensor_server::SERVICE_NAME, stenographer_server::SERVICE_NAME];

impl Health {
    /// Queries are answered; of capture nothing is known yet.
    pub(super) async fn new() -> Self {
        let reporter = HealthReporter::new();
        for name in ANSWERS {
            reporter.set_service_status(name, ServingStatus::Serving).await;
        }
        reporter.set_service_status(CAPTURE, ServingStatus::NotServing).await;
        Self { reporter, capturing: Arc::default() }
    }

    pub(super) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Whether every capture process captures. Queries are answered either way.
    pub async fn set_capturing(&self, capturing: bool) {
        let mut last = self.capturing.lock().await;
        if last.replace(capturing) != Some(capturing) {
            let status = if capturing { ServingStatus::Serving } else { ServingStatus::NotServing };
            self.reporter.set_service_status(CAPTURE, status).await;
        }
    }

    /// Nothing more is answered.
    pub(super) async fn set_stopping(&self) {
        for name in ANSWERS.into_iter().chain([CAPTURE]) {
            self.reporter.set_service_status(name, ServingStatus::NotServing).await;
        }
    }
}
