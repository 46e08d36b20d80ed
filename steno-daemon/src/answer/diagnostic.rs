//! What a client is told of a query text that does not parse.
//!
//! A status travels in HTTP/2 header fields, of which many clients take 8 KiB in all. So the report is cut where it is
//! long, the faults first in the text go first, and what is left out is said.

use bytes::Bytes;
use prost::Message;
use prost_types::Any;
use steno_proto::v1::{QueryDiagnostic, QueryFault};
use steno_query::{QueryErrors, syntax::QueryError};
use tonic::{Code, Status};
use tonic_types::pb::{self, BadRequest, bad_request::FieldViolation};

/// Bytes of the message, as it is sent: other than printable ASCII takes three.
const MESSAGE_BYTES: usize = 2 << 10;
/// Bytes of the details before base64.
const DETAILS_BYTES: usize = 3 << 10;
/// Bytes of a single text among the details.
const TEXT_BYTES: usize = 300;

/// INVALID_ARGUMENT with the report as its message, and a `QueryDiagnostic` and a `google.rpc.BadRequest` among the details.
pub(super) fn status(errors: &QueryErrors) -> Status {
    let report = errors.to_string();
    let message = cut(&report, MESSAGE_BYTES, sent_bytes);
    let mut faults: Vec<QueryFault> = errors.errors().iter().map(fault).collect();
    loop {
        let details = details(&message, &faults);
        // One fault fits, for its texts are cut.
        if details.len() <= DETAILS_BYTES || faults.len() <= 1 {
            return Status::with_details(Code::InvalidArgument, message, details);
        }
        let _left_out = faults.pop();
    }
}

fn fault(error: &QueryError) -> QueryFault {
    let place = |at| u32::try_from(at).unwrap_or(u32::MAX);
    let plain = |text: &str| cut(text, TEXT_BYTES, char::len_utf8);
    QueryFault {
        message: plain(&error.fault.to_string()),
        start: place(error.span.start),
        end: place(error.span.end),
        expected: plain(&error.expected),
        suggestions: error.suggestions.iter().take(5).map(|word| plain(word)).collect(),
    }
}

/// `google.rpc.Status`, encoded, as `grpc-status-details-bin` has it.
fn details(message: &str, faults: &[QueryFault]) -> Bytes {
    let violation = |fault: &QueryFault| FieldViolation {
        field: "query".to_owned(),
        description: format!("{} (bytes {} to {})", fault.message, fault.start, fault.end),
        ..FieldViolation::default()
    };
    let bad_request = BadRequest { field_violations: faults.iter().map(violation).collect() };
    let diagnostic = QueryDiagnostic { text: cut(message, DETAILS_BYTES / 2, char::len_utf8), faults: faults.to_vec() };
    let status = pb::Status {
        code: i32::from(Code::InvalidArgument),
        message: "the query does not parse".to_owned(),
        details: vec![any("steno.v1.QueryDiagnostic", &diagnostic), any("google.rpc.BadRequest", &bad_request)],
    };
    status.encode_to_vec().into()
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

/// Bytes that a character of a message takes in a header field (gRPC over HTTP/2, "Status-Message").
fn sent_bytes(c: char) -> usize {
    if matches!(c, ' '..='~') && c != '%' { 1 } else { 3 * c.len_utf8() }
}

/// `text`, or its beginning and a mark.
fn cut(text: &str, most: usize, bytes_of: impl Fn(char) -> usize) -> String {
    const MARK: &str = "...";
    let mut sum = 0;
    let mut fits = 0;
    for (at, c) in text.char_indices() {
        sum += bytes_of(c);
        if sum > most {
            return format!("{}{MARK}", text.get(..fits).unwrap_or_default());
        }
        if sum + MARK.len() <= most {
            fits = at + c.len_utf8();
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use steno_core::TimestampNs;
    use tonic_types::StatusExt;

    use super::*;

    fn refused(text: &str) -> Status {
        status(&steno_query::parse(text, TimestampNs(0)).unwrap_err())
    }

    fn diagnostic(status: &Status) -> QueryDiagnostic {
        let details = pb::Status::decode(status.details()).unwrap();
        let any = details.details.iter().find(|any| any.type_url.ends_with("/steno.v1.QueryDiagnostic")).unwrap();
        QueryDiagnostic::decode(&any.value[..]).unwrap()
    }

    #[test]
    fn the_report_is_the_message_and_the_place_is_in_the_details() {
        let text = "host 10.0.0.1 and prt 53";
        let status = refused(text);
        assert_eq!(status.code(), Code::InvalidArgument);
        let errors = steno_query::parse(text, TimestampNs(0)).unwrap_err();
        assert_eq!(status.message(), errors.to_string());
        let QueryDiagnostic { text: report, faults } = diagnostic(&status);
        assert_eq!(report, errors.to_string());
        assert_eq!((faults[0].start, faults[0].end), (18, 21));
        assert_eq!(faults[0].suggestions[0], "port");
        let bad_request = status.get_details_bad_request().unwrap();
        assert_eq!(bad_request.field_violations[0].field, "query");
        assert!(bad_request.field_violations[0].description.contains("`prt`"), "{bad_request:?}");
    }

    #[test]
    fn what_is_sent_stays_small_whatever_the_query() {
        let long = format!("host {}", "\u{00e9}".repeat(30_000));
        let many = "prt 53 or ".repeat(200);
        let wide = "\u{4e00}\u{4e8c} and ".repeat(300);
        for text in [long.as_str(), &many, &wide, "", "(", &"x".repeat(100_000)] {
            let status = refused(text);
            let sent: usize = status.message().chars().map(sent_bytes).sum();
            assert!(sent <= MESSAGE_BYTES, "{sent}");
            assert!(status.details().len() <= DETAILS_BYTES + 600, "{}", status.details().len());
            assert!(!diagnostic(&status).faults.is_empty() && status.message().starts_with("error: "), "{status:?}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("abcdef", 6, char::len_utf8), "abcdef");
        assert_eq!(cut("abcdefg", 6, char::len_utf8), "abc...");
        assert_eq!(cut("\u{00e9}\u{00e9}\u{00e9}\u{00e9}", 7, char::len_utf8), "\u{00e9}\u{00e9}...");
        assert_eq!(sent_bytes('%'), 3);
        assert_eq!(sent_bytes('\n'), 3);
    }
}
