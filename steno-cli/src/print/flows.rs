//! Conversations as a table, as comma-separated values, or as one JSON object a line.

use std::io::{self, Write};

use steno_index::Endpoint;
use steno_query::{Flow, rfc3339};

/// Writes a table with a line of headings. `flows` is gone through twice: for the widths of the columns, and to be written.
///
/// # Errors
/// What `out` says.
pub fn flows_as_table<I: Iterator<Item = Flow>>(flows: impl Fn() -> I, out: &mut impl Write) -> io::Result<()> {
    let mut widths = HEADINGS.map(str::len);
    for flow in flows() {
        for (width, cell) in widths.iter_mut().zip(cells(&flow)) {
            *width = (*width).max(cell.len());
        }
    }
    let mut partial = 0u64;
    write_row(out, &widths, &HEADINGS.map(str::to_owned))?;
    for flow in flows() {
        write_row(out, &widths, &cells(&flow))?;
        partial += u64::from(flow.partial);
    }
    if partial > 0 {
        writeln!(out, "* {partial} flows go on outside of the time asked; what they sent there is counted with them")?;
    }
    Ok(())
}

const HEADINGS: [&str; 10] =
    ["FIRST", "LAST", "LAYERS", "A", "B", "PACKETS A>B", "B>A", "BYTES A>B", "B>A", "COMMUNITY ID"];
/// Which columns hold numbers, and stand to the right.
const NUMBERS: [bool; 10] = [false, false, false, false, false, true, true, true, true, false];

fn cells(flow: &Flow) -> [String; 10] {
    let last = rfc3339(flow.last) + if flow.partial { "*" } else { "" };
    [
        rfc3339(flow.first),
        last,
        flow.layers.clone(),
        Endpoint { addr: flow.a, port: flow.a_port }.to_string(),
        Endpoint { addr: flow.b, port: flow.b_port }.to_string(),
        flow.a_to_b.packets.to_string(),
        flow.b_to_a.packets.to_string(),
        flow.a_to_b.bytes.to_string(),
        flow.b_to_a.bytes.to_string(),
        text(flow.community_id.as_ref()),
    ]
}

fn write_row(out: &mut impl Write, widths: &[usize; 10], cells: &[String; 10]) -> io::Result<()> {
    let mut line = String::new();
    for ((cell, &width), number) in cells.iter().zip(widths).zip(NUMBERS) {
        let padded = if number { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
        line.push_str(&padded);
    }
    writeln!(out, "{}", line.trim_end())
}

/// Writes the line of names above comma-separated values.
///
/// # Errors
/// What `out` says.
pub fn flows_csv_heading(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "first,last,layers,protocol,a,a_port,b,b_port,a_to_b_packets,a_to_b_bytes,a_to_b_matches,b_to_a_packets,\
         b_to_a_bytes,b_to_a_matches,partial,community_id"
    )
}

/// Writes a flow as comma-separated values. Empty where there is no value; no value holds a comma or a quote.
///
/// # Errors
/// What `out` says.
pub fn flow_as_csv(flow: &Flow, out: &mut impl Write) -> io::Result<()> {
    let values = [
        rfc3339(flow.first),
        rfc3339(flow.last),
        flow.layers.clone(),
        text(flow.protocol),
        text(flow.a),
        text(flow.a_port),
        text(flow.b),
        text(flow.b_port),
        flow.a_to_b.packets.to_string(),
        flow.a_to_b.bytes.to_string(),
        flow.a_to_b.matches.to_string(),
        flow.b_to_a.packets.to_string(),
        flow.b_to_a.bytes.to_string(),
        flow.b_to_a.matches.to_string(),
        flow.partial.to_string(),
        text(flow.community_id),
    ];
    writeln!(out, "{}", values.join(","))
}

/// Writes a flow as one JSON object on a line, with the fields of [`Flow`].
///
/// # Errors
/// What `out` says.
pub fn flow_as_json(flow: &Flow, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, flow)?;
    writeln!(out)
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
