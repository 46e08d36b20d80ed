//! Certificates as they should be, and as they should not.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Command,
};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ClientConfig;
use steno_core::testkit::need;
use steno_proto::certs::{CertDir, client_tls};
use time::OffsetDateTime;

/// A certificate (or a chain of them, the first one its holder's) and its key, as PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Pair {
    pub(crate) fn read(cert: &Path, key: &Path) -> Self {
        Self { cert: fs::read_to_string(cert).unwrap(), key: fs::read_to_string(key).unwrap() }
    }

    /// A certificate for clients, as `alter` wants it, that `by` has signed.
    pub(crate) fn signed(by: &Issuer<'_, KeyPair>, alter: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::signed_with(by, KeyPair::generate().unwrap(), alter)
    }

    /// The same for a key of its own kind.
    pub(crate) fn signed_with(
        by: &Issuer<'_, KeyPair>,
        key: KeyPair,
        alter: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let params = client_params(alter);
        Self { cert: params.signed_by(&key, by).unwrap().pem(), key: key.serialize_pem() }
    }

    /// The same that its own key has signed.
    pub(crate) fn self_signed() -> Self {
        let (params, key) = (client_params(|_| {}), KeyPair::generate().unwrap());
        Self { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// A client that shows it, and trusts the CA of `trusts`.
    pub(crate) fn client(&self, trusts: &CertDir) -> ClientConfig {
        let root = tempfile::tempdir().unwrap();
        let dir = CertDir::new(root.path());
        let _bytes = fs::copy(trusts.ca_cert(), dir.ca_cert()).unwrap();
        fs::write(dir.client_cert(), &self.cert).unwrap();
        write_key(&dir.client_key(), &self.key);
        client_tls(&dir).unwrap().config
    }
}

/// A key that is its owner's alone, as one must be.
fn write_key(path: &Path, key: &str) {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(key.as_bytes()).unwrap();
}

fn client_params(alter: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "test");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.is_ca = IsCa::ExplicitNoCa;
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - time::Duration::DAY, now + time::Duration::DAY);
    alter(&mut params);
    params
}

/// Who signs in the name of the certificate in `cert` with the key in `key`, whether it may or not.
pub(crate) fn issuer(cert: &Path, key: &Path) -> Issuer<'static, KeyPair> {
    let key = KeyPair::from_pem(&fs::read_to_string(key).unwrap()).unwrap();
    issuer_with(cert, key)
}

pub(crate) fn issuer_with(cert: &Path, key: KeyPair) -> Issuer<'static, KeyPair> {
    Issuer::from_ca_cert_pem(&fs::read_to_string(cert).unwrap(), key).unwrap()
}

/// The CA of `dir` takes back the certificates of these numbers.
pub(crate) fn revoking(dir: &CertDir, serials: &[u64]) -> String {
    revoking_as(&issuer(&dir.ca_cert(), &dir.ca_key()), serials)
}

/// The same of whom `signs` speaks for.
pub(crate) fn revoking_as(signs: &Issuer<'_, KeyPair>, serials: &[u64]) -> String {
    revoking_until(signs, serials, OffsetDateTime::now_utc() + time::Duration::DAY)
}

/// The same, good until then.
pub(crate) fn revoking_until(signs: &Issuer<'_, KeyPair>, serials: &[u64], until: OffsetDateTime) -> String {
    let now = OffsetDateTime::now_utc();
    let revoked = |serial: &u64| rcgen::RevokedCertParams {
        serial_number: (*serial).into(),
        revocation_time: now,
        reason_code: None,
        invalidity_date: None,
    };
    let params = rcgen::CertificateRevocationListParams {
        this_update: now - time::Duration::DAY,
        next_update: until,
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    params.signed_by(signs).unwrap().pem().unwrap()
}

/// A certificate as 1.0.1's script makes them: RSA, X.509 version 1, without extensions. None without the program openssl.
pub(crate) fn of_version_1(ca: &CertDir) -> Option<Pair> {
    if !need(Command::new("openssl").arg("version").output().is_ok(), "openssl") {
        return None;
    }
    let root = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(root.path()).output().unwrap();
        assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (cert, key) = (ca.ca_cert().display().to_string(), ca.ca_key().display().to_string());
    let subject = "/C=XX/O=Stenographer/CN=127.0.0.1_client";
    let _said =
        run(&["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "csr", "-subj", subject]);
    let _said = run(&["x509", "-req", "-in", "csr", "-CA", &cert, "-CAkey", &key, "-set_serial", "9", "-out", "cert"]);
    let text = run(&["x509", "-in", "cert", "-noout", "-text"]);
    assert!(text.contains("Version: 1 ") && text.contains("rsaEncryption"), "{text}");
    Some(Pair::read(&root.path().join("cert"), &root.path().join("key")))
}
