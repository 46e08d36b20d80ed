//! `steno index dump`: what an index holds, as text.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use steno_index::{AnyIndex, BlockChecksums, Cause, Facts, Index, IndexError};
use steno_query::rfc3339;

use super::{super::CommandError, dump_version2};
use crate::{args::DumpArgs, exit::Exit};

/// Running checksums that a line has room for.
const VALUES_A_LINE: usize = 8;

/// Prints it.
pub(in super::super) fn dump(args: &DumpArgs) -> Result<Exit, CommandError> {
    let index = AnyIndex::open(&args.file).map_err(|e| Stop::Index(e).of(&args.file))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = match &index {
        AnyIndex::Native(_) if args.keys => return Err(not_there(args, "--keys lists those of an index of version 2")),
        AnyIndex::Version2(_) if args.blocks || args.conversations => {
            return Err(not_there(
                args,
                "of version 2, it knows neither blocks nor conversations: --keys lists what it has",
            ));
        }
        AnyIndex::Native(index) => print(index, args, &mut out),
        AnyIndex::Version2(index) => dump_version2::print(index, args.keys, &mut out),
    };
    let printed = printed.and_then(|()| out.flush().map_err(Stop::Output));
    match printed {
        Err(Stop::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        printed => printed.map(|()| Exit::Done).map_err(|stop| stop.of(&args.file)),
    }
}

fn not_there(args: &DumpArgs, why: &str) -> CommandError {
    CommandError::Usage(format!("{}: {why}", args.file.display()))
}

/// Why the printing ends early.
pub(super) enum Stop {
    Output(io::Error),
    Index(IndexError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<IndexError> for Stop {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl Stop {
    fn of(self, path: &Path) -> CommandError {
        match self {
            Self::Output(e) => CommandError::Stdout(e),
            Self::Index(source) => CommandError::Index { path: path.to_owned(), source },
        }
    }
}

fn print(index: &Index, args: &DumpArgs, out: &mut impl Write) -> Result<(), Stop> {
    totals(index, out)?;
    facts(index.facts()?, out)?;
    writeln!(out, "\nsections:{:>31} {:>12} {:>12}", "offset", "bytes", "items")?;
    for section in index.sections() {
        let (name, offset, len) = (section.name, section.offset_bytes, section.len_bytes);
        writeln!(out, "  {name:<26} {offset:>12} {len:>12} {:>12}", section.count)?;
    }
    if args.blocks {
        blocks(index, out)?;
    }
    if args.conversations {
        writeln!(out, "\nconversations:")?;
        for conversation in index.iter() {
            let (no, conversation) = conversation?;
            let (first, last) = conversation.time_range();
            writeln!(out, "  {:<8} {} {} {conversation}", no.0, rfc3339(first), rfc3339(last))?;
        }
    }
    Ok(())
}

fn totals(index: &Index, out: &mut impl Write) -> io::Result<()> {
    let (major, minor) = index.version();
    let (bytes, packets) = (index.file_bytes(), index.packets());
    let hundredths = (bytes * 100).checked_div(u64::from(packets)).unwrap_or_default();
    writeln!(out, "format         {major}.{minor}, {bytes} bytes")?;
    writeln!(out, "packets        {packets}, {} bytes on the wire", index.wire_bytes())?;
    writeln!(out, "conversations  {}", index.conversations())?;
    writeln!(out, "blocks         {}", index.block_count())?;
    if let Some((first, last)) = index.time_range() {
        writeln!(out, "times          {} to {}", rfc3339(first), rfc3339(last))?;
        writeln!(out, "index bytes    {}.{:02} a packet", hundredths / 100, hundredths % 100)?;
    }
    Ok(())
}

pub(super) fn facts(facts: &Facts, out: &mut impl Write) -> io::Result<()> {
    let texts = [
        ("interface", &facts.interface),
        ("filter", &facts.filter),
        ("host", &facts.host),
        ("kernel", &facts.kernel),
        ("software", &facts.software),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        // A text from a file may hold anything: what would steer a terminal is escaped.
        writeln!(out, "{name:<14} {}", text.escape_debug())?;
    }
    writeln!(out, "link type      {}", facts.link_type)?;
    writeln!(out, "snaplen        {}", facts.snaplen)?;
    writeln!(out, "thread         {}", facts.thread)?;
    writeln!(out, "block bytes    {}", facts.block_bytes)?;
    for drops in &facts.drops {
        writeln!(out, "kernel drops   {} in second {}", drops.packets, drops.second)?;
    }
    for gap in &facts.gaps {
        writeln!(out, "gap            {} to {}: {}", rfc3339(gap.from), rfc3339(gap.to), gap.reason.escape_debug())?;
    }
    for loss in &facts.losses {
        let unit = if loss.cause == Cause::WriteStall { " ns" } else { "" };
        writeln!(out, "{:<14} {}{unit} in second {}", loss.cause, loss.count, loss.second)?;
    }
    for step in &facts.clock_steps {
        writeln!(out, "clock set      from {} to {}", rfc3339(step.from), rfc3339(step.to))?;
    }
    if let Some(ended) = facts.ended {
        writeln!(out, "capture ended  {}", rfc3339(ended))?;
    }
    Ok(())
}

fn blocks(index: &Index, out: &mut impl Write) -> Result<(), Stop> {
    writeln!(out, "\nblocks:")?;
    for no in 0..index.block_count() {
        let block = index.block(no)?;
        let crc = block.crc32c.map_or_else(|| "none".to_owned(), |crc| format!("{crc:08x}"));
        writeln!(
            out,
            "  {no:<8} at {}, sequence {}, {} packets from {}, {} bytes used, crc32c {crc}, {} to {}",
            block.offset_bytes,
            block.seq_num,
            block.packets,
            block.first_packet.0,
            block.used_bytes,
            rfc3339(block.min_time),
            rfc3339(block.max_time)
        )?;
        let checksums = index.checksums(no)?;
        let running = checksums.as_ref().map_or(&[][..], BlockChecksums::running);
        for some in running.chunks(VALUES_A_LINE) {
            let values: Vec<String> = some.iter().map(|value| format!("{value:08x}")).collect();
            writeln!(out, "           running {}", values.join(" "))?;
        }
    }
    Ok(())
}
