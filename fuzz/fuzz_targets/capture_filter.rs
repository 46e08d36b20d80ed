//! `--filter`, in hexadecimal and in words: `steno_capture::fuzzing::Program`.
//!
//! A program that is checked here is one that the kernel takes, and the other way round. What words are compiled to is such
//! a program, unless it is too long.

#![no_main]

use std::io::ErrorKind;

use libfuzzer_sys::fuzz_target;
use steno_capture::fuzzing::Program;

/// Hexadecimal digits of an instruction.
const DIGITS: usize = 16;
/// BPF_MAXINSNS.
const INSTRUCTIONS_MAX: usize = 4096;

fuzz_target!(|input: &[u8]| {
    // Any bytes are the instructions of a program.
    let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
    let whole = hex.len() - hex.len() % DIGITS;
    assert_eq!(Program::of_hex(&hex).is_ok(), whole == hex.len());
    let program = Program::of_hex(hex.get(..whole).expect("digits")).expect("whole instructions");
    assert_eq!(program.to_hex(), hex.get(..whole).expect("digits"));
    compare(&program);

    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(program) = Program::of_hex(text) {
        assert_eq!(program.to_hex(), text.to_ascii_lowercase());
    }
    if let Ok(program) = Program::of_words(text) {
        compare(&program);
        assert!(program.check().is_ok() || program.len() > INSTRUCTIONS_MAX, "{text}: {:?}", program.check());
    }
});

fn compare(program: &Program) {
    let (ours, kernel) = (program.check(), program.attach());
    // Of a long one, that it is larger than a socket's options may be (net.core.optmem_max), which is the machine's to say.
    if kernel.as_ref().is_err_and(|e| e.kind() == ErrorKind::OutOfMemory) {
        return;
    }
    assert_eq!(ours.is_ok(), kernel.is_ok(), "{}: {ours:?}, and the kernel: {kernel:?}", program.to_hex());
}
