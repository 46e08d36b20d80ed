//! What a capture process says over the control socket: [`steno_daemon::capture::parse`], and what is counted by it.
//!
//! Each line is a datagram, and an empty one the end of a process. A message that is understood can be spelled so that the
//! same is understood again. Whatever was said, what a sensor shows of its capture can be added up.

#![no_main]

use libfuzzer_sys::fuzz_target;
use steno_daemon::capture::{Message, parse};
use steno_daemon::fuzzing::{counted, told};

fuzz_target!(|input: &[u8]| {
    let mut runs = vec![Vec::new()];
    for datagram in input.split(|byte| *byte == b'\n') {
        if datagram.is_empty() {
            runs.push(Vec::new());
        }
        let Ok(Some(message)) = parse(datagram) else { continue };
        assert_eq!(parse(spelled(&message).as_bytes()), Ok(Some(message)));
        if let Some(run) = runs.last_mut() {
            run.push(message);
        }
    }
    let status = told(&runs);
    assert!(status.outages.len() <= 1_000 && status.clock_steps.len() <= 1_000, "what is remembered is bounded");
    assert!(!counted(&status).is_empty());
});

/// As `docs/format/control.md` has it.
fn spelled(message: &Message) -> String {
    match message {
        Message::Starting => "starting".to_owned(),
        Message::Ready { threads } => format!("ready {threads}"),
        Message::Sealed { thread, id } => format!("sealed {thread} {id}"),
        Message::Log { thread, id, block_bytes } => format!("log {thread} {id} {block_bytes}"),
        Message::Counters { thread, counters: c } => format!(
            "counters {thread} {} {} {} {} {} {} {} {} {} {} {} {} {} {}",
            c.packets,
            c.bytes,
            c.drops,
            c.freezes,
            c.blocks,
            c.write_errors,
            c.lost,
            c.cut,
            c.write_stall_ns,
            c.interface_dropped,
            c.interface_missed,
            c.interface_overrun,
            c.uncaptured,
            c.late
        ),
        Message::Clock { from, to } => format!("clock {} {}", from.as_ns(), to.as_ns()),
        Message::Stopping => "stopping".to_owned(),
    }
}
