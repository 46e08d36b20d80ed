//! What is done while the process has one thread and all its rights: afterwards it has neither.

use std::{sync::Arc, time::Duration};

use tracing::{debug, warn};

use super::sensor_settings;
use crate::{
    config::Config,
    confine::{self, Reach},
    launch::Launcher,
    sensor::Prepared,
    serve::Ports,
};

/// A daemon that is confined, and serves nobody yet.
pub(super) struct Ready {
    pub(super) config: Config,
    pub(super) ports: Ports,
    pub(super) sensor: Prepared,
    /// None: there is none to be had, and the process is not confined.
    pub(super) launcher: Option<Arc<Launcher>>,
    /// What stopping capture may take.
    pub(super) sealing: Duration,
}

/// Binds the ports, makes the directories, starts the launcher, and confines the process.
///
/// # Errors
/// A port or a directory that cannot be had. Nothing is running then.
pub(super) fn prepare(config: Config) -> anyhow::Result<Ready> {
    // Before anything is made or started: the ports may be another daemon's, whose directories these are then too.
    let ports = Ports::bind(&config)?;
    let settings = sensor_settings(&config);
    let sealing = settings.captures.iter().map(|capture| capture.stop_within).max().unwrap_or_default();
    let mut sensor = Prepared::new(settings)?;
    let launcher = match sensor.launch() {
        Ok(launcher) => {
            debug!("stenotype is started by another process; this one keeps to serving");
            confine::serve_only(&reach(&config, &sensor));
            Some(launcher)
        }
        Err(e) => {
            warn!(
                "this process keeps the rights that stenotype needs: none can be started that has them in its stead: {e}"
            );
            None
        }
    };
    Ok(Ready { config, ports, sensor, launcher, sealing })
}

fn reach(config: &Config, sensor: &Prepared) -> Reach {
    let (main, rpc) = (config.server_files(), config.rpc_server_files());
    let files = [Some(&main), rpc.as_ref()].into_iter().flatten();
    let mut to = sensor.reach();
    to.read.extend(files.flat_map(|files| files.paths()).map(Into::into));
    // Its files are exchanged there.
    to.kept.extend(config.audit.as_deref().and_then(confine::directory_of));
    to
}
