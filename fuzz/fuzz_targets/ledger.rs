//! The ledger of what nobody captured, which an earlier capture has left: `steno_capture::fuzzing::ledger`.
//!
//! The input is read as it is, and once more with its checksum made right. What is read is written so that it is read as the
//! same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use steno_capture::fuzzing::ledger;

/// `docs/format/ledger.md`: what the last line begins with.
const SUM: &str = "crc32c ";

fuzz_target!(|text: &str| {
    look(text);
    let body = text.rfind(SUM).and_then(|at| text.get(..at)).unwrap_or(text);
    look(&format!("{body}{SUM}{:08x}\n", crc32c::crc32c(body.as_bytes())));
});

fn look(text: &str) {
    if let Some(written) = ledger(text) {
        assert_eq!(ledger(&written).as_ref(), Some(&written), "{text:?} is written as what is read otherwise");
    }
}
