//! What is said of certificates that are weak.

use super::*;

/// A key of RSA with 1,024 bits, signed by itself with SHA-1, without names, for 100,000 days: `openssl req -x509 -newkey
/// rsa:1024 -sha1 -subj /CN=192.0.2.1 -days 100000`.
const OLD: &str = "-----BEGIN CERTIFICATE-----
MIIB8zCCAVygAwIBAgIBATANBgkqhkiG9w0BAQUFADAUMRIwEAYDVQQDDAkxOTIu
MC4yLjEwIBcNMjYxMTIzMDgzOTA3WhgPMjMwMDA5MDgwODM5MDdaMBQxEjAQBgNV
BAMMCTE5Mi4wLjIuMTCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEAvarxjMcU
frHjCzioU7clJwB9ZqE8bPA/1HNk84GP1dWL+TzBkHDG5c8HaA0vhJOAdaojvIjn
r+oi0IFQrgylk2MjkmJwNLjQ9aznhVp6WJdOQpVl18avC3U9r67YSLf+D+p6WUU7
tTZTGN8C4KNCYeB2RL4IJjfmlWMK3BpAuLcCAwEAAaNTMFEwHQYDVR0OBBYEFJho
Zg1ii2uubFmfJWLoHoDRUIryMB8GA1UdIwQYMBaAFJhoZg1ii2uubFmfJWLoHoDR
UIryMA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQEFBQADgYEAVdqBQ1PFK0uo
ML/mHcjnrh3e93PsaAMQnXTneyClIKxFG3cI3cUFcCSxfmlUgX+XKl4fFZIN54lR
z+8/faVXyrGcdN0piZocbSvdvkNbTVwDfwzsEhW7nexykj7VuY2FzVMtTDPXC7Oq
NX2+kDT3MRi/6z7nPxneMBAH+LHNPI4=
-----END CERTIFICATE-----
";

fn weak(path: &Path, used_as: Use, in_days: i64) -> Vec<String> {
    let leaf = Leaf::read(path).unwrap();
    leaf.weaknesses(used_as, leaf.not_before_secs() + in_days * 86_400)
}

#[test]
fn of_our_own_there_is_nothing_to_say_until_they_end() {
    let (_root, dir) = made();
    for (path, used_as, days) in [
        (dir.server_cert(), Use::Server, 3_651),
        (dir.client_cert(), Use::Client, 3_651),
        (dir.ca_cert(), Use::Ca, 7_301),
    ] {
        assert_eq!(Leaf::read(&path).unwrap().is_weak("it", used_as), None);
        for day in [0, 1, days - 31] {
            assert_eq!(weak(&path, used_as, day), Vec::<String>::new(), "{path:?} on day {day}");
        }
        for (day, beginning) in [(days - 29, "ends on 20"), (days - 1, "ends on 20"), (days + 1, "has ended on 20")] {
            let said = weak(&path, used_as, day);
            assert!(said.len() == 1 && said[0].starts_with(beginning), "{path:?} on day {day}: {said:?}");
        }
    }
}

#[test]
fn all_that_is_weak_is_said() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("old.pem");
    fs::write(&path, OLD).unwrap();
    let name = "names its host as the common name \"192.0.2.1\" alone, where most clients do not look";
    let (long, key, hash) = ("is good for 100000 days", "has an RSA key of 1024 bits", "is signed with SHA-1");
    assert_eq!(weak(&path, Use::Server, 1), [name, long, key, hash]);
    assert_eq!(weak(&path, Use::Client, 1), [long, key, hash]);
    assert_eq!(weak(&path, Use::Ca, 1), [long, key]);
    let sentence = Leaf::read(&path).unwrap().is_weak("the CA", Use::Ca).unwrap();
    let expected = "the CA is weak: it is good for 100000 days; it has an RSA key of 1024 bits. It is taken as it is; \
                    `steno keys` makes better ones";
    assert_eq!(sentence, expected);
}
