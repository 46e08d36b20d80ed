//! Chooses the destination and the filter, and installs both for the whole process.

use std::{
    env,
    io::{self, IsTerminal},
    path::Path,
};

use tracing::{Subscriber, error, level_filters::LevelFilter, warn};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{MakeWriter, layer as text},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use super::syslog::{SOCKET, Syslog};

/// The environment variable that asks for JSON on standard error: `json` or `text`.
pub const FORMAT_VARIABLE: &str = "STENO_LOG_FORMAT";

/// The environment variable that overrides `-v`: levels by module, as in `info,steno_daemon::retention=debug`.
const FILTER_VARIABLE: &str = "STENO_LOG";

/// The program's name in system logs.
const IDENTIFIER: &str = "stenographer";

/// How lines on standard error look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line of text each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// systemd's journal, with fields.
    Journal,
    /// `/dev/log`, as RFC 3164 lines.
    Syslog,
    /// Standard error.
    Stderr(Format),
}

/// What the command line and the environment ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// `-v`: as in 1.0.1, more is logged the higher it is; -1 is its default.
    pub verbosity: i64,
    /// `-syslog`: to the system's log, where there is one.
    pub syslog: bool,
    /// `STENO_LOG_FORMAT`, which asks for standard error whatever `-syslog` says.
    pub format: Option<Format>,
    /// `STENO_LOG`, which takes the place of `-v`.
    pub filter: Option<String>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The environment asks for a format that is none.
    #[error("{FORMAT_VARIABLE} is {got:?}, it takes \"json\" or \"text\"")]
    Format {
        /// What it holds.
        got: String,
    },
    /// The environment holds a filter that is none.
    #[error(
        "{FILTER_VARIABLE} is {got:?}, it takes levels by module, as in \"info,steno_daemon::retention=debug\": {why}"
    )]
    Filter {
        /// What it holds.
        got: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something else in this process has installed a log already.
    #[error("the log is set up already")]
    Twice,
}

impl LogSettings {
    /// With what the environment says.
    ///
    /// # Errors
    /// [`LogError::Format`].
    pub fn from_environment(verbosity: i64, syslog: bool) -> Result<Self, LogError> {
        let format = match env::var(FORMAT_VARIABLE).ok().as_deref() {
            None | Some("") => None,
            Some("json") => Some(Format::Json),
            Some("text") => Some(Format::Text),
            Some(got) => return Err(LogError::Format { got: got.to_owned() }),
        };
        let filter = env::var(FILTER_VARIABLE).ok().filter(|f| !f.is_empty());
        Ok(Self { verbosity, syslog, format, filter })
    }

    fn destination(&self, journal: bool, syslog: bool) -> Destination {
        match self.format {
            Some(format) => Destination::Stderr(format),
            None if self.syslog && journal => Destination::Journal,
            None if self.syslog && syslog => Destination::Syslog,
            None => Destination::Stderr(Format::Text),
        }
    }

    /// 1.0.1's levels: what it always logs and what it logs at 0 are `INFO`, 1 is `DEBUG`, more is `TRACE`. Below its
    /// default, -2 leaves warnings and -3 errors. What the libraries say is held one step back, and comes out at 3.
    fn targets(&self) -> Result<Targets, LogError> {
        if let Some(filter) = &self.filter {
            return filter.parse().map_err(|e: tracing_subscriber::filter::ParseError| LogError::Filter {
                got: filter.clone(),
                why: e.to_string(),
            });
        }
        let own = match self.verbosity {
            ..=-3 => LevelFilter::ERROR,
            -2 => LevelFilter::WARN,
            -1 | 0 => LevelFilter::INFO,
            1 => LevelFilter::DEBUG,
            2.. => LevelFilter::TRACE,
        };
        let others = if self.verbosity >= 3 { LevelFilter::DEBUG } else { LevelFilter::WARN.min(own) };
        // A prefix: every crate of ours, and the capture process's lines.
        Ok(Targets::new().with_default(others).with_target("steno", own))
    }
}

/// Installs the log for the whole process, panics included, and says where it goes.
///
/// # Errors
/// [`LogError`]; standard error is then the place to say so.
pub fn init(settings: &LogSettings) -> Result<Destination, LogError> {
    let targets = settings.targets()?;
    let journal = if settings.syslog && settings.format.is_none() { tracing_journald::layer().ok() } else { None };
    let destination = settings.destination(journal.is_some(), Path::new(SOCKET).exists());
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match (destination, journal) {
        (Destination::Journal, Some(journal)) => {
            Box::new(journal.with_syslog_identifier(IDENTIFIER.to_owned()).with_field_prefix(Some("STENO".to_owned())))
        }
        (Destination::Syslog, _) => syslog_layer(Syslog::new(IDENTIFIER, SOCKET)),
        (Destination::Stderr(format), _) => stderr_layer(format, io::stderr, io::stderr().is_terminal()),
        (Destination::Journal, None) => stderr_layer(Format::Text, io::stderr, false),
    };
    tracing_subscriber::registry().with(layer.with_filter(targets)).try_init().map_err(|_| LogError::Twice)?;
    std::panic::set_hook(Box::new(|panic| error!("a bug: {panic}")));
    if settings.syslog && destination == Destination::Stderr(Format::Text) && settings.format.is_none() {
        warn!("no system log is there (neither systemd's journal nor {SOCKET}): logging to standard error");
    }
    Ok(destination)
}

fn stderr_layer<S, W>(format: Format, writer: W, ansi: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    match format {
        Format::Text => Box::new(text().with_writer(writer).with_ansi(ansi)),
        Format::Json => Box::new(text().json().flatten_event(true).with_writer(writer)),
    }
}

/// The system's log has time and level of its own.
fn syslog_layer<S>(writer: Syslog) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    Box::new(text().with_writer(writer).with_ansi(false).without_time().with_level(false))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::net::UnixDatagram,
        sync::{Arc, Mutex},
    };

    use tracing::{Level, debug, info};

    use super::*;

    fn settings(verbosity: i64) -> LogSettings {
        LogSettings { verbosity, syslog: true, format: None, filter: None }
    }

    #[test]
    fn the_system_log_is_taken_where_it_is() {
        assert_eq!(settings(0).destination(true, true), Destination::Journal);
        assert_eq!(settings(0).destination(false, true), Destination::Syslog);
        assert_eq!(settings(0).destination(false, false), Destination::Stderr(Format::Text));
        let plain = LogSettings { syslog: false, ..settings(0) };
        assert_eq!(plain.destination(true, true), Destination::Stderr(Format::Text));
        let json = LogSettings { format: Some(Format::Json), ..settings(0) };
        assert_eq!(json.destination(true, true), Destination::Stderr(Format::Json));
    }

    #[test]
    fn levels_are_those_of_1_0_1() {
        let most = |verbosity: i64, target: &str| {
            let targets = settings(verbosity).targets().unwrap();
            [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR]
                .into_iter()
                .find(|level| targets.would_enable(target, level))
        };
        let own: Vec<_> = (-4..=3).map(|v| most(v, "steno_daemon::retention")).collect();
        let expected = [Level::ERROR, Level::ERROR, Level::WARN, Level::INFO, Level::INFO, Level::DEBUG];
        assert_eq!(own[..6], expected.map(Some));
        assert_eq!(own[6..], [Some(Level::TRACE); 2]);
        assert_eq!(most(1, "stenotype"), Some(Level::DEBUG));
        assert_eq!((most(1, "h2::codec"), most(3, "h2::codec")), (Some(Level::WARN), Some(Level::DEBUG)));
        assert_eq!(most(-3, "h2::codec"), Some(Level::ERROR));
    }

    #[test]
    fn a_filter_takes_the_place_of_the_level() {
        let with = |filter: &str| LogSettings { filter: Some(filter.to_owned()), ..settings(0) }.targets();
        let targets = with("error,steno_daemon::retention=debug").unwrap();
        assert!(targets.would_enable("steno_daemon::retention::keeper", &Level::DEBUG));
        assert!(!targets.would_enable("steno_daemon::capture", &Level::INFO));
        let error = with("steno_daemon=loud").unwrap_err().to_string();
        assert!(error.starts_with("STENO_LOG is \"steno_daemon=loud\", it takes levels by module"), "{error}");
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_lines_are_json_objects() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let layer = stderr_layer(Format::Json, move || writer.clone(), false);
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(settings(0).targets().unwrap()));
        tracing::subscriber::with_default(subscriber, || {
            info!(target: "stenotype", thread = "1", "two\nlines \u{1b}[31m");
            debug!(target: "stenotype", "not at this level");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1, "{text}");
        let object: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(object["message"], "two\nlines \u{1b}[31m");
        assert_eq!((object["level"].as_str(), object["thread"].as_str()), (Some("INFO"), Some("1")));
    }

    #[test]
    fn a_system_log_gets_whole_lines_with_their_level() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let layer = syslog_layer(Syslog::new("stenographer", &path));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            warn!(target: "stenotype", interface = "eth0", "ring full\n<0>forged");
        });
        let mut bytes = [0; 1024];
        let n = socket.recv(&mut bytes).unwrap();
        let line = str::from_utf8(&bytes[..n]).unwrap();
        // facility user (1), severity warning (4)
        assert!(line.starts_with("<12>"), "{line}");
        let message =
            format!("stenographer[{}]: stenotype: ring full <0>forged interface=\"eth0\"", std::process::id());
        assert!(line.ends_with(&message), "{line}");
    }
}
