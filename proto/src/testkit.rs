//! What the tests of every crate share of certificates. Not part of a normal build (feature `testkit`).

use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};
use rustls_pki_types::CertificateDer;

/// Object identifier of a common name.
pub const CN: &[u64] = &[2, 5, 4, 3];
/// Object identifier of an organizational unit.
pub const OU: &[u64] = &[2, 5, 4, 11];

/// A certificate, signed by its own key, whose subject has these attributes, the first one first, by object identifier, and these
/// alternative names.
///
/// # Errors
/// Those of `rcgen`.
pub fn certificate(
    attributes: &[(&[u64], DnValue)],
    alternative: Vec<SanType>,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (i, (identifier, value)) in attributes.iter().enumerate() {
        // rcgen keeps one value of a type, but takes one that is spelled otherwise for another.
        let kind = match (i, *identifier) {
            (0, CN) => DnType::CommonName,
            (0, OU) => DnType::OrganizationalUnitName,
            (_, other) => DnType::CustomDnType(other.to_vec()),
        };
        params.distinguished_name.push(kind, value.clone());
    }
    params.subject_alt_names = alternative;
    Ok(params.self_signed(&KeyPair::generate()?)?.der().clone())
}
