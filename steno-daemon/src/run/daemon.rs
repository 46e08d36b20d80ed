//! Start, life and end, in their order.

use std::{
    env,
    io::{self, Write},
    path::Path,
    process::{ExitCode, exit},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use steno_core::{Clock, SystemClock};
use tokio::{
    runtime::Builder,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, error, info, warn};

use super::{
    prepare::{Ready, prepare},
    signals,
};
use crate::{
    capture::ChildState,
    config::{Config, Flags, Loaded, Problem, USAGE, embedded},
    confine,
    launch::{self, Launcher},
    log::{self, Destination, LogSettings},
    metrics::Metrics,
    notify,
    sensor::{Sensor, SensorView},
    serve::{Health, Server, Tuning},
};

/// Wrong arguments.
const USAGE_ERROR: u8 = 2;
/// How often it is looked whether capture runs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What sealing and ending may take beyond the time that capture processes get.
const END_MARGIN: Duration = Duration::from_secs(10);

/// Runs the daemon with the arguments of this process, until a signal ends it. The status is 0, or 1 after a fault that is
/// on standard error, or 2 where the arguments are wrong.
pub fn run() -> ExitCode {
    if env::args_os().skip(1).eq([launch::ARGUMENT]) {
        return launch::run();
    }
    let flags = match Flags::of_this_process() {
        Ok(flags) => flags,
        Err(e) => {
            say(&mut io::stderr(), &format!("stenographer: {e}\n\n{USAGE}"));
            return ExitCode::from(USAGE_ERROR);
        }
    };
    if flags.help {
        say(&mut io::stdout(), USAGE.trim_end());
        return ExitCode::SUCCESS;
    }
    if flags.version {
        say(&mut io::stdout(), concat!("stenographer ", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    let ended = if flags.check { check(&flags) } else { daemon(&flags) };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(&mut io::stderr(), &format!("stenographer: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line. Nobody need listen, and a disk that is full is no reason to end.
pub(crate) fn say(to: &mut dyn Write, line: &str) {
    let _ = writeln!(to, "{line}");
}

/// `-check`: says what is wrong, and changes nothing.
fn check(flags: &Flags) -> anyhow::Result<()> {
    let file = match &flags.interface {
        Some(_) => flags.data.join("config"),
        None => flags.config.clone(),
    };
    let Loaded { config, warnings } = Loaded::read(&file)?;
    let checked = config.check();
    for problem in warnings.iter().chain(&checked.warnings) {
        say(&mut io::stderr(), &format!("warning: {problem}"));
    }
    for problem in &checked.errors {
        say(&mut io::stderr(), &format!("error: {problem}"));
    }
    if !checked.errors.is_empty() {
        bail!("{} does not hold", file.display());
    }
    say(&mut io::stdout(), &format!("{} holds", file.display()));
    Ok(())
}

fn daemon(flags: &Flags) -> anyhow::Result<()> {
    let destination = log::init(&LogSettings::from_environment(flags.verbosity, flags.syslog)?)?;
    confine::hide();
    let ended = load(flags).and_then(|Started { config, invitation }| {
        let ready = prepare(config)?;
        let runtime = Builder::new_multi_thread().enable_all().thread_name("serve").build();
        let runtime = runtime.context("failed to start the async runtime")?;
        let served = runtime.block_on(serve(ready, invitation));
        // Whatever still runs belongs to a client that was given up.
        runtime.shutdown_timeout(Duration::from_secs(1));
        served
    });
    if let Err(e) = &ended
        && !matches!(destination, Destination::Stderr(_))
    {
        error!("{e:#}");
    }
    ended
}

/// What the daemon starts with.
struct Started {
    config: Config,
    /// Said once it answers, to whoever called it without a configuration.
    invitation: Option<String>,
}

/// Reads the configuration, or makes one, and holds it against the machine.
fn load(flags: &Flags) -> anyhow::Result<Started> {
    let (loaded, invitation) = match &flags.interface {
        Some(interface) => {
            // Nothing is made for a misspelled name.
            embedded::check(interface, &flags.data)?;
            let made = embedded::prepare(interface, &flags.data)?;
            if let Err(e) = embedded::lead_from(Path::new("."), &flags.data) {
                debug!("`steno` does not find the sensor from here by itself: {e}");
            }
            let invitation = invitation(interface, &made.file);
            (made.loaded, Some(invitation))
        }
        None => (Loaded::read(&flags.config)?, None),
    };
    let Loaded { config, warnings } = loaded;
    let checked = config.check();
    for problem in warnings.iter().chain(&checked.warnings) {
        warn!("{problem}");
    }
    // Capture may be mended while queries are answered, and the audit log while packets are captured; everything else must be
    // right.
    let (bearable, fatal): (Vec<&Problem>, Vec<&Problem>) =
        checked.errors.iter().partition(|problem| ["StenotypePath", "Audit"].contains(&problem.key.as_str()));
    for problem in bearable {
        let meanwhile = if problem.key == "Audit" { "capture goes on" } else { "queries are answered" };
        error!("{problem}; {meanwhile} meanwhile");
    }
    if !fatal.is_empty() {
        let lines: Vec<String> = fatal.iter().map(|problem| problem.to_string()).collect();
        bail!("{}", lines.join("\n"));
    }
    allow_open_files(config.max_open_files);
    Ok(Started { config, invitation })
}

fn invitation(interface: &str, file: &Path) -> String {
    let file = file.display();
    format!("capturing on {interface}; ask with: steno read --config {file} 'last 1m'")
}

/// Raises the limit of open files as far as it may be, towards what is configured.
fn allow_open_files(wanted: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if current.is_some_and(|current| current < allowed) {
        let raised = Rlimit { current: Some(allowed), maximum };
        if let Err(e) = setrlimit(Resource::Nofile, raised) {
            warn!("cannot allow {allowed} open files: {e}");
        }
    }
}

/// Everything, from the first look at the store to the last sealed file.
async fn serve(ready: Ready, invitation: Option<String>) -> anyhow::Result<()> {
    let Ready { config, ports, sensor, launcher, sealing } = ready;
    let orders = signals::listen().context("failed to listen for signals")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (metrics, tuning) = (Metrics::new(), Tuning::default());
    let mut sensor = Sensor::open_prepared(sensor, Arc::clone(&clock), &metrics)?;
    let server = Server::on(ports, &config, sensor.view(), metrics, clock, tuning).await?;
    sensor.start_capture()?;

    let answering = format!("answering on {}", server.address());
    let looking = tokio::spawn(look(sensor.view(), server.health(), launcher, answering.clone()));
    let audit = server.audit();
    signals::reload_on_hangup(server.certificates(), audit.clone()).context("failed to listen for signals")?;
    let certificates = server.certificates();
    let _detached = tokio::spawn(certificates.follow(tuning.look_at_certificates_every));
    notify::ready(&answering);
    if let Some(invitation) = invitation {
        say(&mut io::stdout(), &invitation);
    }
    let stopping = orders.stop.clone();
    let stop = async move {
        stopping.cancelled().await;
        info!("stopping");
        notify::stopping(tuning.drain_within + 2 * tuning.finish_within + sealing + END_MARGIN);
    };
    let served = tokio::select! {
        served = server.run(stop) => served,
        // Whoever still gets an answer loses it. Capture is stopped as it should be nevertheless.
        () = orders.at_once.cancelled() => Ok(()),
    };
    let stopped = tokio::task::spawn_blocking(move || sensor.stop()).await;
    looking.abort();
    audit.close().await;
    stopped.context("failed to stop capture")?;
    info!("stopped");
    served.map_err(Into::into)
}

/// Looks at capture each second: for the health service, and for the service manager, which so learns too that the runtime
/// turns. Ends the process where it could not start capture again.
async fn look(view: SensorView, health: Health, launcher: Option<Arc<Launcher>>, answering: String) {
    let every = notify::alive_every().map_or(LOOK_EVERY, |every| every.min(LOOK_EVERY));
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        let _ = ticks.tick().await;
        if launcher.as_ref().is_some_and(|launcher| launcher.has_ended()) {
            // At once, as if it were killed: what captures goes on, and the next daemon takes it over.
            error!(
                "the process that starts stenotype has ended, so that capture could not be started again: this daemon ends"
            );
            exit(1);
        }
        health.set_capturing(view.is_capturing()).await;
        notify::alive();
        let status = format!("{answering}; {}", describe(&view));
        if status != said {
            notify::status(&status);
            said = status;
        }
    }
}

/// What capture is doing, for people.
fn describe(view: &SensorView) -> String {
    let captures = view.captures().into_iter().map(|capture| {
        let doing = match capture.state {
            ChildState::Running { .. } => "capturing",
            ChildState::Starting => "starting capture",
            ChildState::Backoff { .. } => "CAPTURE IS DOWN",
            ChildState::Stopping { .. } => "stopping capture",
            ChildState::Stopped => "capture has stopped",
        };
        format!("{doing} on {}", capture.source)
    });
    captures.collect::<Vec<_>>().join(", ")
}
