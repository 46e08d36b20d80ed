//! Certificates made, read, and held against each other in handshakes within this process.

mod directory;
mod handshake;
mod kinds;
mod modes;
mod revoked;
mod stenokeys;
mod subject;
mod taken_back;
mod version_1;
mod weakness;

use std::{fs, path::Path, sync::Arc};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::{CertDir, Crl, Leaf, ServerFiles, Use, client_tls, server_tls};

/// A directory of certificates for 127.0.0.1 and sensor.example.
fn made() -> (TempDir, CertDir) {
    let root = tempfile::tempdir().unwrap();
    let dir = CertDir::new(root.path().join("certs"));
    assert_eq!(dir.init(&["127.0.0.1", "sensor.example"]).unwrap().len(), 4);
    (root, dir)
}

fn server(dir: &CertDir) -> Arc<ServerConfig> {
    server_tls(&ServerFiles::from(dir)).unwrap().config
}

fn client(dir: &CertDir) -> ClientConfig {
    client_tls(dir).unwrap().config
}

/// Who ended a handshake, and why.
#[derive(Debug, PartialEq)]
enum End {
    /// Both went through; the protocol they settled on.
    Agreed(Option<Vec<u8>>),
    ClientRefused(String),
    ServerRefused(String),
}

/// A handshake over memory. The server's refusal comes after the client's last message.
fn shake(client: ClientConfig, server: Arc<ServerConfig>, name: &str) -> End {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            let _ = client.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            let _ = server.read_tls(&mut wire).unwrap();
            if let Err(e) = server.process_new_packets() {
                return End::ServerRefused(e.to_string());
            }
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            let _ = server.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            let _ = client.read_tls(&mut wire).unwrap();
            if let Err(e) = client.process_new_packets() {
                return End::ClientRefused(e.to_string());
            }
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking(), "neither end nor error");
    End::Agreed(server.alpn_protocol().map(<[u8]>::to_vec))
}

/// A certificate as `alter` wants it, signed by the CA of `dir`, in place of the client's.
fn replace_client(dir: &CertDir, alter: impl FnOnce(&mut CertificateParams)) {
    let (cert, key) = signed(dir, ExtendedKeyUsagePurpose::ClientAuth, alter);
    fs::write(dir.client_cert(), cert).unwrap();
    write_key(&dir.client_key(), &key);
}

/// PEM of a certificate and its key.
fn signed(
    dir: &CertDir,
    usage: ExtendedKeyUsagePurpose,
    alter: impl FnOnce(&mut CertificateParams),
) -> (String, String) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "test");
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.is_ca = IsCa::ExplicitNoCa;
    params.not_before = OffsetDateTime::now_utc() - Duration::DAY;
    params.not_after = OffsetDateTime::now_utc() + Duration::DAY;
    alter(&mut params);
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &issuer(dir)).unwrap();
    (cert.pem(), key.serialize_pem())
}

fn issuer(dir: &CertDir) -> Issuer<'static, KeyPair> {
    let key = KeyPair::from_pem(&read(&dir.ca_key())).unwrap();
    Issuer::from_ca_cert_pem(&read(&dir.ca_cert()), key).unwrap()
}

/// A key of the test's own, or another in its place, as one must be.
fn write_key(path: &Path, key: &str) {
    let _ = fs::remove_file(path);
    super::write::file(path, key, super::write::SECRET).unwrap();
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
