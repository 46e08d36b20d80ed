//! Where a sensor is: what the command line says, else what a configuration file does.

use std::{
    ffi::OsString,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use steno_proto::{certs::CertDir, json::Node};

use super::SensorError;
use crate::args::SourceArgs;

/// The variable that names a configuration file, as with stenographer 1.0.1.
const VARIABLE: &str = "STENOGRAPHER_CONFIG";
/// The configuration that `stenographer -interface` writes, in the directory that it was started in.
const HERE: &str = "./steno-data/config";
/// The configuration of an installed sensor.
const SYSTEM: &str = "/etc/stenographer/config";
/// Where 1.0.1's packages put the certificates; what the sensor takes where its configuration does not say.
const CERT_PATH: &str = "/etc/stenographer/certs";
/// The port where none is told.
const PORT: u16 = 1234;

/// Where a sensor is, and with what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// A host name or an address.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// Our certificate, its key, and the CA.
    pub(crate) certs: CertDir,
}

/// Where to look besides the arguments.
#[derive(Clone, Debug)]
struct Places {
    variable: Option<OsString>,
    here: PathBuf,
    system: PathBuf,
}

impl Location {
    /// Looks in the order of the contract: `--server`, `--config`, the variable, the directory here, the system's.
    ///
    /// # Errors
    /// No place tells of a sensor, or the one that does cannot be read or understood.
    pub(crate) fn find(args: &SourceArgs) -> Result<Self, SensorError> {
        let places = Places { variable: std::env::var_os(VARIABLE), here: HERE.into(), system: SYSTEM.into() };
        Self::look(args, places)
    }

    fn look(args: &SourceArgs, places: Places) -> Result<Self, SensorError> {
        if let (Some(server), Some(certs)) = (&args.server, &args.certs) {
            let (host, port) = host_and_port(server)?;
            return Ok(Self { host, port, certs: CertDir::new(certs) });
        }
        let variable = places.variable.filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(file) = args.config.clone().or(variable) {
            return Self::of_config(&file);
        }
        for file in [places.here, places.system] {
            match Self::of_config(&file) {
                Err(SensorError::ConfigRead { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                found => return found,
            }
        }
        Err(SensorError::NotTold)
    }

    /// What the sensor's configuration in `file` says.
    ///
    /// # Errors
    /// The file cannot be read, or is no configuration.
    pub(crate) fn of_config(file: &Path) -> Result<Self, SensorError> {
        let text =
            fs::read_to_string(file).map_err(|source| SensorError::ConfigRead { path: file.to_owned(), source })?;
        Self::of_text(&text, file)
    }

    /// What a configuration says, whose text this is.
    pub(super) fn of_text(text: &str, file: &Path) -> Result<Self, SensorError> {
        let bad = |why: String| SensorError::Config { path: file.to_owned(), why };
        let (node, _) = Node::parse(text).map_err(|e| bad(format!("it is no JSON: {e}")))?;
        if !matches!(node, Node::Object(_)) {
            return Err(bad(format!("it is {}; it must be an object", node.describe())));
        }
        let text_of = |key: &str| match node.get(key) {
            None => Ok(None),
            Some(Node::Text(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(other) => Err(bad(format!("{key} is {}; it takes a text", other.describe()))),
        };
        let port = match node.get("Port") {
            None => PORT,
            Some(Node::Number(number)) => number
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port > 0)
                .ok_or_else(|| bad(format!("Port is {number}; it takes a number from 1 to 65535")))?,
            Some(other) => return Err(bad(format!("Port is {}; it takes a number", other.describe()))),
        };
        let host = text_of("Host")?.map_or_else(|| Ipv4Addr::LOCALHOST.to_string(), callable);
        let certs = text_of("CertPath")?.unwrap_or_else(|| CERT_PATH.to_owned());
        Ok(Self { host, port, certs: CertDir::new(certs) })
    }

    /// The sensor as messages name it.
    pub(crate) fn shown(&self) -> String {
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }
}

/// The host to call where a sensor listens on `host`: on this machine, where that is every address.
fn callable(host: String) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
        _ => host,
    }
}

/// `HOST:PORT`, `HOST`, `[ADDRESS]:PORT` or an address.
fn host_and_port(text: &str) -> Result<(String, u16), SensorError> {
    let bad = || SensorError::BadServer { text: text.to_owned() };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address.to_string(), PORT));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or_else(bad)?;
        let address: Ipv6Addr = address.parse().map_err(|_| bad())?;
        let port =
            if port.is_empty() { PORT } else { port_of(port.strip_prefix(':').ok_or_else(bad)?).ok_or_else(bad)? };
        return Ok((address.to_string(), port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port_of(port).ok_or_else(bad)?),
        None => (text, PORT),
    };
    let named = !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if named { Ok((host.to_owned(), port)) } else { Err(bad()) }
}

fn port_of(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere() -> Places {
        Places { variable: None, here: "/nonexistent/here".into(), system: "/nonexistent/system".into() }
    }

    fn config(dir: &Path, name: &str, text: &str) -> PathBuf {
        let file = dir.join(name);
        fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn places_are_looked_at_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, port: u16| config(dir.path(), name, &format!(r#"{{"Port": {port}}}"#));
        let mut places = nowhere();
        let mut args = SourceArgs::default();
        assert!(matches!(Location::look(&args, places.clone()), Err(SensorError::NotTold)));
        let port = |args: &SourceArgs, places: &Places| Location::look(args, places.clone()).unwrap().port;
        places.system = file("system", 1);
        assert_eq!(port(&args, &places), 1);
        places.here = file("here", 2);
        assert_eq!(port(&args, &places), 2);
        places.variable = Some(OsString::new());
        assert_eq!(port(&args, &places), 2, "an empty variable names no file");
        places.variable = Some(file("variable", 3).into());
        assert_eq!(port(&args, &places), 3);
        args.config = Some(file("config", 4));
        assert_eq!(port(&args, &places), 4);
        args.server = Some("sensor:5".to_owned());
        args.certs = Some("certs".into());
        let found = Location::look(&args, places.clone()).unwrap();
        assert_eq!(found, Location { host: "sensor".into(), port: 5, certs: CertDir::new("certs") });
    }

    #[test]
    fn a_place_that_tells_of_a_sensor_is_not_passed_over_because_it_is_bad() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { system: config(dir.path(), "system", "{}"), ..nowhere() };
        let here = config(dir.path(), "here", "{");
        assert!(matches!(
            Location::look(&SourceArgs::default(), Places { here, ..places.clone() }),
            Err(SensorError::Config { .. })
        ));
        let variable = Some("/nonexistent/variable".into());
        let missing = Location::look(&SourceArgs::default(), Places { variable, ..places });
        assert!(matches!(missing, Err(SensorError::ConfigRead { .. })), "what was named must be there");
    }

    #[test]
    fn a_configuration_is_read_as_go_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| Location::of_config(&config(dir.path(), "config", text));
        let found = read(r#"{"host": "10.0.0.1", "PORT": 99, "certpath": "/c", "Threads": [{"Port": 7}]}"#).unwrap();
        assert_eq!(found, Location { host: "10.0.0.1".into(), port: 99, certs: CertDir::new("/c") });
        let found = read(r#"{"Host": null}"#).unwrap();
        assert_eq!(found, Location { host: "127.0.0.1".into(), port: 1234, certs: CertDir::new(CERT_PATH) });
        for (listened, called) in [("0.0.0.0", "127.0.0.1:1234"), ("::", "[::1]:1234"), ("192.0.2.1", "192.0.2.1:1234")]
        {
            assert_eq!(read(&format!(r#"{{"Host": "{listened}"}}"#)).unwrap().shown(), called);
        }
        for (text, told) in [
            ("", "it is no JSON: the file is empty"),
            ("[]", "it is a list; it must be an object"),
            (r#"{"Port": "1234"}"#, r#"Port is "1234"; it takes a number"#),
            (r#"{"Port": 65536}"#, "Port is 65536; it takes a number from 1 to 65535"),
            (r#"{"CertPath": 7}"#, "CertPath is 7; it takes a text"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for (text, host, port) in [
            ("sensor.example:99", "sensor.example", 99),
            ("sensor", "sensor", 1234),
            ("192.0.2.7:1", "192.0.2.7", 1),
            ("[2001:db8::1]:2", "2001:db8::1", 2),
            ("[::1]", "::1", 1234),
            ("2001:db8::1", "2001:db8::1", 1234),
        ] {
            assert_eq!(host_and_port(text).unwrap(), (host.to_owned(), port), "{text}");
        }
        for text in ["", ":1", "a:", "a:0", "a:65536", "a:b", "a:1:2", "[::1", "[::1]2", "[a]:1", "a/b:1", "https://a"]
        {
            assert!(matches!(host_and_port(text), Err(SensorError::BadServer { .. })), "{text}");
        }
    }
}
