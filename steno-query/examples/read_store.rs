//! A query over a store, in ten lines: `cargo run --example read_store -- DIR QUERY`.

use steno_core::{Clock, SystemClock};
use steno_query::{Options, Store, parse};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [dir, text] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "usage: read_store DIR QUERY")?;
    let mut answer = Store::open(dir)?.answer(&parse(&text, SystemClock.now())?, Options::default());
    while let Some(packet) = answer.next_packet() {
        println!("{} {} bytes", packet.time, packet.frame.len());
    }
    eprintln!("{}", answer.receipt());
    Ok(())
}
