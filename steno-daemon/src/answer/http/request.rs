//! What a client of `POST /query` sends: the query as the body, limits among the headers.

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode, Version,
    header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, TE},
};
use steno_query::syntax::MAX_TEXT_BYTES;
use tokio::time::timeout;
use tokio_stream::StreamExt;

use crate::{
    access::Denied,
    answer::{Failed, Refused, Unread},
};

/// By when a query must have come.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of a query that is too long which are read all the same, so that its client is there for the answer: one that is
/// still sending when the connection is closed may lose that.
const MOST_IGNORED_BYTES: usize = 4 << 20;
/// Bytes that 1.0.1 counts for the header of the file.
const COUNTED_HEADER_BYTES: u64 = 16;

/// A request that is answered with a status and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    /// What its client is told.
    pub(super) fn why(&self) -> &str {
        &self.why
    }

    fn bad(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, why } = self;
        let mut response = (status, format!("{why}\n")).into_response();
        let headers = response.headers_mut();
        let _ = headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let _ = match status {
            StatusCode::METHOD_NOT_ALLOWED => headers.insert(ALLOW, HeaderValue::from_static("POST")),
            StatusCode::TOO_MANY_REQUESTS => headers.insert(RETRY_AFTER, HeaderValue::from_static("1")),
            _ => None,
        };
        response
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::TooMany { .. } | Refused::TooManyOfOne { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refused::Stopping | Refused::Audit(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refused::Denied(_) => StatusCode::FORBIDDEN,
        };
        Self::new(status, refused.to_string())
    }
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Faults(errors) => Self::new(StatusCode::BAD_REQUEST, errors.to_string()),
            Unread::Refused(refused) => refused.into(),
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, denied.to_string())
    }
}

/// For a query that failed before its answer began.
impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Self {
        let status = match failed {
            Failed::Deadline | Failed::Stalled => StatusCode::GATEWAY_TIMEOUT,
            Failed::Bytes | Failed::Memory | Failed::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Failed::DataLoss(_) | Failed::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, failed.to_string())
    }
}

/// Where an answer is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) max_bytes: Option<u64>,
    pub(super) max_packets: Option<u64>,
}

impl Limits {
    /// Reads `Steno-Limit-Bytes` and `Steno-Limit-Packets` as 1.0.1 does: 0 and nothing are no limit, and of two headers of
    /// one name the first counts.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let max_bytes = limit(headers, "Steno-Limit-Bytes")?
            // The header of the file alone reaches such a limit: 1.0.1 sends that and no packet.
            .map(|bytes| if bytes <= COUNTED_HEADER_BYTES { 0 } else { bytes });
        Ok(Self { max_bytes, max_packets: limit(headers, "Steno-Limit-Packets")? })
    }
}

fn limit(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let number = value.to_str().ok().and_then(number);
    let number = number.ok_or_else(|| {
        let value = String::from_utf8_lossy(value.as_bytes());
        Refusal::bad(format!("bad {name} {value:?}: it takes a whole number, not negative; 0 is no limit"))
    })?;
    Ok(Some(number).filter(|number| *number > 0))
}

/// A number as Go's `strconv.ParseInt` reads it with base 0: `0x`, `0o`, `0b` and a leading `0` say another base than ten.
fn number(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (lower.get(2..)?, 16),
        [b'0', b'o', ..] => (lower.get(2..)?, 8),
        [b'0', b'b', ..] => (lower.get(2..)?, 2),
        [b'0', _, ..] => (lower.get(1..)?, 8),
        _ => (lower.as_str(), 10),
    };
    // A second sign would be taken by `from_str_radix`.
    let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let number = all.then(|| i64::from_str_radix(digits, radix).ok()).flatten()?;
    u64::try_from(number).ok()
}

/// Whether the end of an answer can be told from a connection that broke, and so may be sent at all.
pub(super) fn has_an_end(version: Version) -> Result<(), Refusal> {
    match version {
        Version::HTTP_09 | Version::HTTP_10 => Err(Refusal::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "a query takes HTTP/1.1 or HTTP/2: in HTTP/1.0 an answer that was cut off looks like a whole one",
        )),
        _ => Ok(()),
    }
}

/// Whether the client takes a trailer: in HTTP/2 always, in HTTP/1.1 where it says so (RFC 9110, section 6.5.1).
pub(super) fn takes_trailers(version: Version, headers: &HeaderMap) -> bool {
    let says_so = |value: &HeaderValue| {
        let words = value.to_str().unwrap_or_default().split(',');
        words.map(str::trim).any(|word| word.eq_ignore_ascii_case("trailers"))
    };
    version >= Version::HTTP_2 || headers.get_all(TE).iter().any(says_so)
}

/// The query text.
pub(super) async fn text(headers: &HeaderMap, body: Body) -> Result<String, Refusal> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > MOST_IGNORED_BYTES as u64) {
        return Err(too_large());
    }
    let read = timeout(BODY_WITHIN, bytes(body)).await.unwrap_or_else(|_| {
        let why = format!("the query has not come within {} s", BODY_WITHIN.as_secs());
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, why))
    });
    String::from_utf8(read?).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Refusal::bad(format!("the query is not text: byte {at} is not of UTF-8"))
    })
}

/// Takes a body of which nothing is wanted, as far as a query is taken: a client that is still sending may lose an answer that
/// does not wait for the end of its request (curl 7.88 does over HTTP/2).
pub(crate) async fn pass_over(headers: &HeaderMap, body: Body) {
    drop(text(headers, body).await);
}

async fn bytes(body: Body) -> Result<Vec<u8>, Refusal> {
    let (mut read, mut ignored, mut pieces) = (Vec::new(), 0, body.into_data_stream());
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|e| Refusal::bad(format!("the query did not come to its end: {e}")))?;
        if ignored > 0 || read.len() + piece.len() > MAX_TEXT_BYTES {
            ignored += piece.len();
        } else {
            read.extend_from_slice(&piece);
        }
        if ignored > MOST_IGNORED_BYTES {
            break;
        }
    }
    if ignored > 0 { Err(too_large()) } else { Ok(read) }
}

fn too_large() -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the query is too long: {MAX_TEXT_BYTES} bytes are the most"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(pairs: &[(&'static str, &str)]) -> Result<Limits, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let _ = headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Limits::of(&headers).map_err(|refusal| format!("{} {}", refusal.status, refusal.why))
    }

    #[test]
    fn limits_are_numbers_as_go_reads_them() {
        for (text, expected) in [
            ("", None),
            ("0", None),
            ("00", None),
            ("7", Some(7)),
            ("+3", Some(3)),
            ("0x10", Some(16)),
            ("0X1f", Some(31)),
            ("010", Some(8)),
            ("0o17", Some(15)),
            ("0b101", Some(5)),
            ("9223372036854775807", Some(i64::MAX.cast_unsigned())),
        ] {
            let got = limits(&[("steno-limit-packets", text)]);
            assert_eq!(got, Ok(Limits { max_packets: expected, max_bytes: None }), "{text:?}");
        }
        for text in [
            "-1",
            "1.5",
            "1e3",
            "x",
            "0x",
            "08",
            "++3",
            "+-3",
            "0x-1",
            "7 ",
            "7 8",
            "1_000",
            "9223372036854775808",
            "\u{e9}",
        ] {
            for (name, shown) in
                [("steno-limit-packets", "Steno-Limit-Packets"), ("steno-limit-bytes", "Steno-Limit-Bytes")]
            {
                let why = limits(&[(name, text)]).unwrap_err();
                let expected = format!("400 Bad Request bad {shown} {text:?}: it takes a whole number");
                assert!(why.starts_with(&expected), "{why}");
            }
        }
        assert_eq!(limits(&[("steno-limit-packets", "5"), ("steno-limit-packets", "x")]).unwrap().max_packets, Some(5));
    }

    #[test]
    fn a_limit_that_the_file_header_reaches_lets_no_packet_through() {
        for (text, expected) in [("1", Some(0)), ("16", Some(0)), ("17", Some(17)), ("0", None)] {
            assert_eq!(limits(&[("steno-limit-bytes", text)]).unwrap().max_bytes, expected, "{text}");
        }
    }

    #[test]
    fn trailers_are_for_those_who_take_them() {
        let te = |value: &'static str| HeaderMap::from_iter([(TE, HeaderValue::from_static(value))]);
        assert!(takes_trailers(Version::HTTP_2, &HeaderMap::new()));
        assert!(takes_trailers(Version::HTTP_11, &te("trailers")));
        assert!(takes_trailers(Version::HTTP_11, &te("gzip;q=0.5, Trailers")));
        assert!(!takes_trailers(Version::HTTP_11, &te("gzip")));
        assert!(!takes_trailers(Version::HTTP_11, &HeaderMap::new()));
        assert!(has_an_end(Version::HTTP_11).is_ok() && has_an_end(Version::HTTP_2).is_ok());
        assert_eq!(has_an_end(Version::HTTP_10).unwrap_err().status, StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    }
}
