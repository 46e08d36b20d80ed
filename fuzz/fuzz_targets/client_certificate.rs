//! Certificates of clients, and revocation lists: what decides in the handshake, and what a certificate is read as.
//!
//! The first byte says what the rest is: an odd one, a revocation list; else a certificate, and those between it and the CA.
//! Nobody comes in but who holds what the CA has signed, and not taken back; no list is taken but the CA's own; and nothing in
//! a subject can forge a line of the log.

#![no_main]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use libfuzzer_sys::{Corpus, fuzz_target};
use rustls::pki_types::CertificateDer;
use steno_daemon::fuzzing::peer;
use steno_fuzz::authority::{Authority, element, signed_part};
use steno_proto::certs::{Crl, Leaf, ServerFiles, ServerTls, server_tls};
use tempfile::TempDir;

struct Known {
    authority: Authority,
    files: ServerFiles,
    /// Without a list, and with one.
    open: ServerTls,
    revoking: ServerTls,
    // Removed when the process ends in order.
    root: TempDir,
}

thread_local! {
    static KNOWN: Known = Known::new();
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&first, bytes)) = input.split_first() else { return Corpus::Reject };
    KNOWN.with(|known| match first & 1 {
        0 => known.client(bytes),
        _ => known.list(bytes),
    });
    Corpus::Keep
});

impl Known {
    fn new() -> Self {
        let authority = Authority::new().expect("the same as ever");
        let root = tempfile::Builder::new().prefix("steno-fuzz-").tempdir().expect("a directory");
        let path = |name: &str| root.path().join(name);
        let [cert, key] = &authority.server;
        for (name, text) in [("ca", &authority.ca), ("cert", cert), ("key", key)] {
            fs::write(path(name), text).expect("a file");
            fs::set_permissions(path(name), fs::Permissions::from_mode(0o600)).expect("its mode");
        }
        let files = ServerFiles { ca_cert: path("ca"), cert: path("cert"), key: path("key"), crl: None };
        fs::write(path("crl"), pem(&authority.revoked)).expect("a file");
        let open = server_tls(&files).expect("they belong together");
        let with_list = ServerFiles { crl: Some(Crl::Named(path("crl"))), ..files.clone() };
        let revoking = server_tls(&with_list).expect("they belong together");
        Self { authority, files, open, revoking, root }
    }

    fn client(&self, bytes: &[u8]) {
        let named = peer(bytes);
        assert!(!named.contains(char::is_control), "{named:?}");
        if let Ok(leaf) = Leaf::of(&CertificateDer::from(bytes)) {
            assert!(leaf.serial().len() <= 3 * bytes.len() && leaf.common_name().len() <= 2 * bytes.len());
        }
        let (mut chain, mut rest) = (Vec::new(), bytes);
        while let Some(each) = element(rest).filter(|_| chain.len() < 4) {
            chain.push(CertificateDer::from(each.whole));
            rest = rest.get(each.whole.len()..).unwrap_or_default();
        }
        if !rest.is_empty() {
            chain.push(CertificateDer::from(rest));
        }
        let Some(end) = chain.first() else { return };
        let [open, revoking] = [&self.open, &self.revoking].map(|server| server.verify_client(&chain).is_ok());
        let held = self.authority.clients.iter().position(|client| signed_part(client) == signed_part(end));
        assert!(!open || held.is_some(), "somebody comes in whom the CA does not know");
        let is_revoked = held.is_some_and(|held| held + 1 == self.authority.clients.len());
        assert!(!revoking || (open && !is_revoked), "somebody comes in who was sent away");
    }

    fn list(&self, bytes: &[u8]) {
        let path = self.root.path().join("list");
        fs::write(&path, pem(bytes)).expect("a file");
        let files = ServerFiles { crl: Some(Crl::Named(path)), ..self.files.clone() };
        if server_tls(&files).is_ok() {
            assert_eq!(signed_part(bytes), signed_part(&self.authority.revoked), "a list that is not the CA's");
        }
    }
}

/// As a file has it.
fn pem(list: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN X509 CRL-----\n");
    for three in list.chunks(3) {
        let word = three.iter().fold(0usize, |word, byte| word << 8 | usize::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            text.push(if place > three.len() { '=' } else { char::from(DIGITS[word >> (18 - 6 * place) & 63]) });
        }
    }
    text + "\n-----END X509 CRL-----\n"
}
