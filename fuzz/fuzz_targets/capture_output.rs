//! What a capture process writes to its standard output and error: `steno_daemon::fuzzing::output`.
//!
//! The first byte says in which pieces it comes, which changes nothing. No line is longer than is passed on, and none can
//! forge another one of the log.

#![no_main]

use libfuzzer_sys::fuzz_target;
use steno_daemon::fuzzing::{LINE_BYTES_MOST, output};

fuzz_target!(|input: &[u8]| {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let at_once = output(&[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(piece) + 1).collect();
    assert_eq!(output(&pieces), at_once, "in pieces of {}", usize::from(piece) + 1);
    for (line, thread, text) in at_once {
        // A byte that is no text becomes three.
        assert!(line.len() <= 3 * LINE_BYTES_MOST, "a line of {} bytes", line.len());
        assert!(!text.contains(char::is_control), "{text:?}");
        assert!(!thread.unwrap_or_default().contains(char::is_control));
    }
});
