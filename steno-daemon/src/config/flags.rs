//! The arguments of `stenographer`, read as Go's package `flag` reads them: one dash or two, `-x=y` or `-x y`, and a
//! boolean takes its value after `=` alone.

use std::path::PathBuf;

use super::nearest::nearest;

/// How it is called.
pub const USAGE: &str = "\
usage: stenographer [-config FILE] [-syslog[=BOOL]] [-v INT] [-check]
       stenographer -interface IFACE [-data DIR] [-syslog[=BOOL]] [-v INT]

  -config FILE      the configuration (default /etc/stenographer/config)
  -interface IFACE  no configuration: capture on IFACE into one directory, with certificates made there
  -data DIR         that directory (default ./steno-data)
  -check            say what is wrong with the configuration, and exit
  -syslog[=BOOL]    log to syslog, else to standard error (default true; with -interface, false)
  -v INT            how much to log (default -1)
  -version          print the version, and exit
";

/// What the daemon was called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// `-config`.
    pub config: PathBuf,
    /// `-interface`, which asks for the embedded default.
    pub interface: Option<String>,
    /// `-data`.
    pub data: PathBuf,
    /// `-check`.
    pub check: bool,
    /// `-syslog`.
    pub syslog: bool,
    /// `-v`.
    pub verbosity: i64,
    /// `-help`.
    pub help: bool,
    /// `-version`.
    pub version: bool,
}

/// What is wrong with the arguments. The program then ends with status 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlagsError {
    /// No flag is called so.
    #[error("unknown flag {flag}{}", .nearest.map(|name| format!("; did you mean -{name}?")).unwrap_or_default())]
    Unknown {
        /// As given.
        flag: String,
        /// What may be meant.
        nearest: Option<&'static str>,
    },
    /// A flag without its value.
    #[error("flag -{0} needs a value")]
    NoValue(&'static str),
    /// A value that cannot be.
    #[error("bad value {value:?} for flag -{flag}: it takes {takes}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// As given.
        value: String,
        /// What would do.
        takes: &'static str,
    },
    /// Something that is no flag.
    #[error("unexpected argument {0:?}")]
    Unexpected(String),
    /// Flags that exclude each other.
    #[error("-{0} and -{1} do not go together")]
    Together(&'static str, &'static str),
    /// A flag without the one that it belongs to.
    #[error("-data needs -interface")]
    DataAlone,
    /// An argument that is not UTF-8.
    #[error("an argument is not UTF-8")]
    NotText,
}

const NAMES: &[&str] = &["config", "interface", "data", "check", "syslog", "v", "help", "h", "version"];

/// A flag and, after `=`, its value.
struct Given<'a> {
    name: &'static str,
    value: Option<&'a str>,
}

impl Flags {
    /// Reads `arguments`, without the name of the program.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn parse(arguments: &[String]) -> Result<Self, FlagsError> {
        let (mut config, mut data, mut interface, mut syslog, mut verbosity) = (None, None, None, None, None);
        let (mut check, mut help, mut version) = (false, false, false);
        let mut rest = arguments.iter().map(String::as_str);
        while let Some(argument) = rest.next() {
            let Given { name, value } = given(argument)?;
            let mut text = || value.or_else(|| rest.next()).ok_or(FlagsError::NoValue(name));
            match name {
                "config" => config = Some(text()?),
                "data" => data = Some(text()?),
                "interface" => interface = Some(text()?),
                "v" => verbosity = Some(integer(name, text()?)?),
                "syslog" => syslog = Some(boolean(name, value)?),
                "check" => check = boolean(name, value)?,
                "version" => version = boolean(name, value)?,
                _ => help = true,
            }
        }
        match (config, interface, data) {
            (Some(_), Some(_), _) => return Err(FlagsError::Together("config", "interface")),
            (_, None, Some(_)) => return Err(FlagsError::DataAlone),
            (_, Some(""), _) => {
                return Err(FlagsError::Value {
                    flag: "interface",
                    value: String::new(),
                    takes: "the name of an interface",
                });
            }
            _ => {}
        }
        Ok(Self {
            config: config.unwrap_or("/etc/stenographer/config").into(),
            data: data.unwrap_or("steno-data").into(),
            check,
            syslog: syslog.unwrap_or(interface.is_none()),
            interface: interface.map(str::to_owned),
            verbosity: verbosity.unwrap_or(-1),
            help,
            version,
        })
    }

    /// Reads the arguments of this process.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn of_this_process() -> Result<Self, FlagsError> {
        let arguments: Result<Vec<String>, _> = std::env::args_os().skip(1).map(|a| a.into_string()).collect();
        Self::parse(&arguments.map_err(|_| FlagsError::NotText)?)
    }
}

fn given(argument: &str) -> Result<Given<'_>, FlagsError> {
    let Some(bare) = argument
        .strip_prefix("--")
        .or_else(|| argument.strip_prefix('-'))
        .filter(|bare| !bare.is_empty() && !bare.starts_with('='))
    else {
        return Err(FlagsError::Unexpected(argument.to_owned()));
    };
    let (name, value) = bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value)));
    match NAMES.iter().find(|known| **known == name) {
        Some(name) => Ok(Given { name, value }),
        None => {
            let flag = argument.split('=').next().unwrap_or_default().to_owned();
            Err(FlagsError::Unknown { flag, nearest: nearest(name, NAMES) })
        }
    }
}

/// As Go's `strconv.ParseBool`; no value is true.
fn boolean(flag: &'static str, value: Option<&str>) -> Result<bool, FlagsError> {
    match value {
        None | Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
        Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
        Some(value) => Err(FlagsError::Value { flag, value: value.to_owned(), takes: "true or false" }),
    }
}

fn integer(flag: &'static str, value: &str) -> Result<i64, FlagsError> {
    value.parse().map_err(|_| FlagsError::Value { flag, value: value.to_owned(), takes: "a whole number" })
}
