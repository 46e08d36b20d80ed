//! What is weak about a certificate that is taken all the same, for the log.

use time::OffsetDateTime;

use super::{Leaf, ServerTls};

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The server shows it.
    Server,
    /// A client shows it.
    Client,
    /// It has signed the others.
    Ca,
}

const DAY_SECS: i64 = 86_400;
/// From so many days before its end on, a certificate ends soon.
const SOON_DAYS: i64 = 30;
/// The same of a list of what was taken back, which may be made for some days only.
const LIST_SOON_SECS: i64 = 2 * DAY_SECS;
/// Bits of an RSA key from which on it is no weakness (NIST SP 800-57 part 1, section 5.6.1).
const RSA_BITS: usize = 2_048;

impl Use {
    /// Days that a certificate may be good for: as long as those that `steno keys` makes, and some.
    fn most_days(self) -> i64 {
        match self {
            Self::Server | Self::Client => 3_660,
            Self::Ca => 7_310,
        }
    }
}

impl Leaf {
    /// A sentence that says what is weak about it now, with `whose` certificate it is as its beginning; none where nothing is.
    pub fn is_weak(&self, whose: &str, used_as: Use) -> Option<String> {
        let weak = self.weaknesses(used_as, OffsetDateTime::now_utc().unix_timestamp());
        let all = weak.join("; it ");
        (!weak.is_empty())
            .then(|| format!("{whose} is weak: it {all}. It is taken as it is; `steno keys` makes better ones"))
    }

    /// What is weak about it, a phrase each that has the certificate as its subject; `now_secs` is in seconds since the UNIX
    /// epoch.
    pub fn weaknesses(&self, used_as: Use, now_secs: i64) -> Vec<String> {
        let mut weak = Vec::new();
        let left = self.not_after_secs().saturating_sub(now_secs);
        if left < 0 {
            weak.push(format!("has ended on {}", date(self.not_after_secs())));
        } else if left < SOON_DAYS * DAY_SECS {
            weak.push(format!("ends on {}", date(self.not_after_secs())));
        }
        if used_as == Use::Server && !self.has_alternative_names() {
            let name = self.common_name();
            weak.push(format!("names its host as the common name {name:?} alone, where most clients do not look"));
        }
        if used_as != Use::Ca && self.is_version_1() {
            weak.push("does not say what it may be used for (X.509 version 1)".to_owned());
        }
        let days = self.not_after_secs().saturating_sub(self.not_before_secs()) / DAY_SECS;
        if days > used_as.most_days() {
            weak.push(format!("is good for {days} days"));
        }
        if let Some(bits) = self.rsa_bits().filter(|bits| *bits < RSA_BITS) {
            weak.push(format!("has an RSA key of {bits} bits"));
        }
        // Nobody looks at the signature of a CA that is trusted as it is.
        if let Some(hash) = self.weak_hash().filter(|_| used_as != Use::Ca) {
            weak.push(format!("is signed with {hash}"));
        }
        weak
    }
}

impl ServerTls {
    /// A sentence about the list of what was taken back, where it lets nobody in, or soon will not.
    pub fn list_is_weak(&self) -> Option<String> {
        let until = self.crl_until_secs?;
        let left = until.saturating_sub(OffsetDateTime::now_utc().unix_timestamp());
        let ends = match left {
            ..0 => "ended",
            0..=LIST_SOON_SECS => "ends",
            _ => return None,
        };
        let date = date(until);
        Some(format!(
            "the revocation list {ends} on {date}; then no client is let in. `steno keys revoke` signs it anew"
        ))
    }
}

fn date(secs: i64) -> String {
    OffsetDateTime::from_unix_timestamp(secs).map(|at| at.date().to_string()).unwrap_or_default()
}
