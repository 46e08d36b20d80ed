//! The words of `steno keys`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, value_parser};
use steno_proto::certs::{AlternativeName, Serial};

/// `steno keys`
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a CA, the certificate of a sensor, and the one of a first client
    Init(KeysInitArgs),
    /// Make a certificate for one more client
    Client(KeysClientArgs),
    /// Take the certificates of a client back
    Revoke(KeysRevokeArgs),
}

/// The most days that may be asked for: a hundred years.
const MOST_DAYS: i64 = 36_500;

/// What a certificate that is to be made should be like.
#[derive(Args, Debug)]
pub struct WantedArgs {
    /// The kind of the key
    #[arg(long, value_name = "KIND", value_enum, default_value_t = KeyKind::P256)]
    pub key: KeyKind,
}

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyKind {
    /// ECDSA on P-256, which everything knows
    P256,
    /// Ed25519
    Ed25519,
}

/// `steno keys init`
#[derive(Args, Debug)]
#[command(after_long_help = KEYS_FILES)]
pub struct KeysInitArgs {
    /// The directory; it is made where it is missing. A sensor's configuration names it as CertPath
    #[arg(long, value_name = "DIR")]
    pub certs: PathBuf,
    /// What clients call the sensor by, a host name or an address; may be given several times. Without it 127.0.0.1 and
    /// localhost
    #[arg(long = "host", value_name = "NAME_OR_IP")]
    pub hosts: Vec<String>,
    /// How long the sensor's certificate and the first client's are good for, 10 years by default
    #[arg(long, value_name = "DAYS", value_parser = value_parser!(u16).range(1..=MOST_DAYS))]
    pub days: Option<u16>,
    /// What the certificates should be like.
    #[command(flatten)]
    pub wanted: WantedArgs,
}

const KEYS_FILES: &str = "\
What is missing is made; what is there is never replaced. To have a certificate made anew, move it and its key away.

Files:
  ca_cert.pem      whom sensor and clients trust; 20 years
  ca_key.pem       mode 0600; signs certificates, and neither sensor nor clients need it: it may be kept elsewhere
  server_cert.pem  what the sensor shows
  server_key.pem   mode 0600; the user that the sensor runs as must be able to read it
  client_cert.pem  what a client shows
  client_key.pem   mode 0640; whoever can read it can read what was captured
  crl.pem          what was taken back, for the sensor; made with the CA (one of another CA is kept as crl.pem.old)
  ca/SERIAL.pem    a copy of each certificate that was signed, by which `steno keys revoke` knows it
  clients/NAME/    what `steno keys client NAME` makes

No key may be open to all users of the machine: neither a sensor nor a client takes one that is.";

/// `steno keys client`
#[derive(Args, Debug)]
#[command(after_long_help = "\
Makes clients/NAME in the directory, with ca_cert.pem, client_cert.pem and client_key.pem: all that the client needs, to be
given to `steno --certs` or to grpcurl. Needs ca_cert.pem and ca_key.pem, which `steno keys init` makes.

Before it ends, run the same with --renew, and hand the directory over again. The certificate of before stays good until it
ends; `steno keys revoke NAME --serial SERIAL` takes it back.")]
pub struct KeysClientArgs {
    /// Whose it is: 1 to 64 letters, digits, `.`, `_`, `@` or `-`. The sensor logs it with what the client asks
    pub name: String,
    /// The directory of the CA
    #[arg(long, value_name = "DIR")]
    pub certs: PathBuf,
    /// How long it is good for
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = value_parser!(u16).range(1..=MOST_DAYS))]
    pub days: u16,
    /// What else the client is called, as DNS:HOST, IP:ADDRESS, email:ADDRESS or URI:URI; may be given several times. A NAME
    /// that is an e-mail address is one without being asked for
    #[arg(long = "san", value_name = "KIND:NAME")]
    pub names: Vec<AlternativeName>,
    /// A group that the client is of: the organizational unit (OU) of its certificate
    #[arg(long, value_name = "GROUP")]
    pub unit: Option<String>,
    /// Make another certificate and another key in the place of those that are there
    #[arg(long)]
    pub renew: bool,
    /// What the certificate should be like.
    #[command(flatten)]
    pub wanted: WantedArgs,
}

/// `steno keys revoke`
#[derive(Args, Debug)]
#[command(after_long_help = "\
Writes crl.pem in the directory, in one step. A sensor whose CertPath it is sees it within seconds: the client is not let in
any more, and what it is being answered is cut off. To other sensors that trust the CA, copy the file.

Without a NAME the list is signed anew. It is good for as long as the CA, or for --list-days: from then on no client is let in
until there is a newer one.")]
pub struct KeysRevokeArgs {
    /// The client, by the common name of its certificates
    #[arg(required_unless_present = "list_days")]
    pub name: Option<String>,
    /// The directory of the CA
    #[arg(long, value_name = "DIR")]
    pub certs: PathBuf,
    /// Take back this certificate alone, by its serial number in hexadecimal digits; may be given several times
    #[arg(long = "serial", value_name = "SERIAL", requires = "name")]
    pub serials: Vec<Serial>,
    /// How long the list is good for; without it, as long as the CA
    #[arg(long, value_name = "DAYS", value_parser = value_parser!(u16).range(1..=MOST_DAYS))]
    pub list_days: Option<u16>,
}
