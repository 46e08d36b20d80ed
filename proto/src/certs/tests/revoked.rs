//! What the CA has taken back.

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};

use super::*;

/// A list of the CA of `dir` that takes back `serials`.
fn list(dir: &CertDir, serials: &[u64]) -> std::path::PathBuf {
    let now = OffsetDateTime::now_utc();
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: now - Duration::HOUR,
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: now - Duration::HOUR,
        next_update: now + Duration::DAY,
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let path = dir.path().join("crl.pem");
    fs::write(&path, params.signed_by(&issuer(dir)).unwrap().pem().unwrap()).unwrap();
    path
}

#[test]
fn a_revoked_client_is_refused_and_no_other() {
    let (_root, dir) = made();
    let mut files = ServerFiles::from(&dir);
    files.crl = Some(Crl::Named(list(&dir, &[7])));
    let server = server_tls(&files).unwrap().config;
    replace_client(&dir, |p| p.serial_number = Some(SerialNumber::from(7)));
    let end = shake(client(&dir), Arc::clone(&server), "127.0.0.1");
    assert!(matches!(&end, End::ServerRefused(why) if why.contains("Revoked")), "{end:?}");
    replace_client(&dir, |p| p.serial_number = Some(SerialNumber::from(8)));
    assert!(matches!(shake(client(&dir), server, "127.0.0.1"), End::Agreed(_)));
}

#[test]
fn a_revoked_client_of_version_1_is_refused_and_no_other() {
    let (_root, dir) = made();
    let mut files = ServerFiles::from(&dir);
    files.crl = Some(Crl::Named(list(&dir, &[7])));
    let server = server_tls(&files).unwrap().config;
    super::version_1::write_client(&dir, 7);
    let end = shake(client(&dir), Arc::clone(&server), "127.0.0.1");
    assert!(matches!(&end, End::ServerRefused(why) if why.contains("Revoked")), "{end:?}");
    super::version_1::write_client(&dir, 8);
    assert!(matches!(shake(client(&dir), server, "127.0.0.1"), End::Agreed(_)));
}

#[test]
fn another_ca_s_list_is_refused() {
    let (_root, dir) = made();
    let (_other_root, other) = made();
    let mut files = ServerFiles::from(&dir);
    files.crl = Some(Crl::Named(list(&other, &[7])));
    let error = server_tls(&files).unwrap_err().to_string();
    assert!(error.ends_with(&format!("crl.pem is not signed by {}", dir.ca_cert().display())), "{error}");
    fs::write(dir.path().join("none.pem"), "").unwrap();
    files.crl = Some(Crl::Named(dir.path().join("none.pem")));
    let error = server_tls(&files).unwrap_err().to_string();
    assert!(error.contains("none.pem holds no certificate revocation list"), "{error}");
}
