//! `steno index dump` of an index of version 2.

use std::{
    io::{self, Write},
    net::Ipv6Addr,
    ops::{ControlFlow, RangeInclusive},
};

use steno_index::{Attribute, Version2Index};
use steno_query::rfc3339;

use super::dump::{Stop, facts};

/// Every attribute that there can be.
const ALL: RangeInclusive<Attribute> = Attribute::Protocol(0)..=Attribute::V6(Ipv6Addr::from_bits(u128::MAX));

/// The kinds of keys, in the order of the file.
const KINDS: [&str; 6] = ["protocols", "ports", "VLAN ids", "IPv4 addresses", "MPLS labels", "IPv6 addresses"];

/// Prints it.
pub(super) fn print(index: &Version2Index, keys: bool, out: &mut impl Write) -> Result<(), Stop> {
    let (major, minor) = index.version();
    writeln!(out, "format         {major}.{minor} (LevelDB table), {} bytes", index.file_bytes())?;
    match index.extra() {
        Some(extra) => {
            writeln!(out, "packets        {}, {} bytes on the wire", extra.packets, extra.wire_bytes)?;
            writeln!(out, "blocks         {}", extra.blocks)?;
            if let Some((first, last)) = extra.time_range {
                writeln!(out, "times          {} to {}", rfc3339(first), rfc3339(last))?;
            }
            facts(&extra.facts, out)?;
        }
        None => writeln!(out, "written by     stenographer 1.0.1: no facts; outermost VLAN tags are missing")?,
    }
    totals(index, out)?;
    if keys {
        writeln!(out, "\npackets by key:")?;
        let mut failed = None;
        index.each(ALL, &mut |attribute, positions| {
            or_break(writeln!(out, "  {:<48} {:>12}", attribute.to_string(), positions.len()), &mut failed)
        })?;
        failed.map_or(Ok(()), |error| Err(Stop::Output(error)))?;
    }
    Ok(())
}

fn totals(index: &Version2Index, out: &mut impl Write) -> Result<(), Stop> {
    let mut totals = [(0u64, 0u64); KINDS.len()];
    index.each(ALL, &mut |attribute, positions| {
        if let Some((keys, packets)) = totals.get_mut(kind(attribute)) {
            *keys += 1;
            *packets += positions.len() as u64;
        }
        ControlFlow::Continue(())
    })?;
    writeln!(out, "\nkeys:{:>36} {:>12}", "number", "positions")?;
    for (name, (keys, packets)) in KINDS.iter().zip(totals) {
        writeln!(out, "  {name:<26} {keys:>12} {packets:>12}")?;
    }
    Ok(())
}

fn kind(attribute: Attribute) -> usize {
    match attribute {
        Attribute::Protocol(_) => 0,
        Attribute::Port(_) => 1,
        Attribute::Vlan(_) => 2,
        Attribute::V4(_) => 3,
        Attribute::Mpls(_) => 4,
        Attribute::V6(_) => 5,
    }
}

fn or_break(written: io::Result<()>, failed: &mut Option<io::Error>) -> ControlFlow<()> {
    match written {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            *failed = Some(error);
            ControlFlow::Break(())
        }
    }
}
