//! Asks the store, through steno-query as any program would, shows the answers, and holds them against what was sent.

use std::io::Write;
use std::time::{Duration, Instant};

use steno_core::{Clock, SystemClock};
use steno_index::Endpoint;
use steno_query::{Flow, Options, Query, Receipt, Store, parse};

use super::DemoError;
use super::check::Rebuilt;
use super::story::{Story, grouped};
use super::traffic::{Conversation, Transport, dns, echo, web};
use super::watch::Watch;
use crate::print::packet_line;

/// How long one answer may take; each takes some milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// So many lines of a short answer are shown, and of one whose beginning tells enough.
const LINES_SHOWN: usize = 12;
const FIRST_LINES: usize = 5;

/// The store, and the story that its answers are told in.
pub(super) struct Questions<'a, W> {
    store: &'a Store,
    /// The store as commands are to name it.
    shown: String,
    watch: &'a Watch,
    story: &'a mut Story<W>,
}

impl<'a, W: Write> Questions<'a, W> {
    pub(super) fn new(store: &'a Store, shown: String, watch: &'a Watch, story: &'a mut Story<W>) -> Self {
        Self { store, shown, watch, story }
    }

    /// Shows what questions look like, and their answers.
    pub(super) fn ask(&mut self, conversations: &[Conversation]) -> Result<(), DemoError> {
        self.story.step("Questions")?;
        self.story.say("Which packets were name look-ups? (`last` counts back from now, `port` means either end.)")?;
        self.show_packets(&format!("udp and port {} and last 5m", dns::PORT), LINES_SHOWN)?;

        self.story.say(
            "Who talked to whom over TCP, and how much each way? The indexes alone know. (Times, layers and Community \
             IDs are left out here.)",
        )?;
        self.show_flows("tcp")?;

        if let Some(page) = conversations.iter().rfind(|each| each.server.port() == web::PORT) {
            self.story.say(&format!("What did the client send to get the {}?", page.what))?;
            let query = format!("src {} and tcp src port {}", page.client.ip(), page.client.port());
            self.show_packets(&query, FIRST_LINES)?;
        }
        self.story.say("What was on the cable that is neither TCP nor UDP? The kernel's own talk of addresses:")?;
        self.show_packets("not (tcp or udp)", FIRST_LINES)?;
        if let Some(echoed) = conversations.iter().find(|each| each.server.port() == echo::PORT) {
            self.story.say(
                "An answer can also be a capture file, for Wireshark and its like. Each ends with a receipt on \
                 standard error: whether it is complete, what was searched, and what is missing, if anything is.",
            )?;
            self.show_file(&format!("host {} and port {}", echoed.client.ip(), echo::PORT))?;
        }
        Ok(())
    }

    /// Asks for each conversation, rebuilds it from the packets, and compares.
    pub(super) fn compare(&mut self, conversations: &[Conversation]) -> Result<(), DemoError> {
        self.story.step("Is it all there?")?;
        self.story.say(
            "The demo remembers every byte that its clients and servers exchanged. It now asks for each conversation, \
             puts it together again from the packets found, and compares.",
        )?;
        let (mut faults, mut packets, mut bytes) = (Vec::new(), 0, 0);
        for conversation in conversations {
            let (found, new_faults) = self.compare_one(conversation)?;
            faults.extend(new_faults);
            packets += found;
            bytes += conversation.to_server.len() + conversation.to_client.len();
        }
        let stored = self.count("tcp or udp")?;
        if stored != packets {
            faults.push(format!(
                "{stored} TCP and UDP packets are stored, {packets} belong to conversations that were held"
            ));
        }
        if !faults.is_empty() {
            return Err(DemoError::Differs { faults });
        }
        self.story.say(&format!(
            "{0} of {0} conversations found in {1} packets, each of the {2} bytes sent in its place.",
            conversations.len(),
            grouped(packets),
            grouped(bytes as u64)
        ))?;
        Ok(())
    }

    /// How many packets were found, and what is wrong with them.
    fn compare_one(&self, conversation: &Conversation) -> Result<(u64, Vec<String>), DemoError> {
        let query = conversation_query(conversation);
        let mut rebuilt = Rebuilt::new(conversation);
        let receipt = self.each_packet(&query, |_, frame| rebuilt.take(frame))?;
        let mut faults = rebuilt.faults();
        if !receipt.is_complete() {
            faults.push(format!("{}: {receipt}", conversation.what));
        }
        let (to_server, to_client) = rebuilt.packets();
        let flows = self.store.flows(&self.parse(&query)?, &self.options());
        let counted: Vec<_> = flows.iter().map(|flow| (flow.a_to_b.packets, flow.b_to_a.packets)).collect();
        if counted != [(to_server, to_client)] {
            faults.push(format!(
                "{}: the index counts {counted:?} packets, ({to_server}, {to_client}) were found",
                conversation.what
            ));
        }
        Ok((to_server + to_client, faults))
    }

    fn show_packets(&mut self, query: &str, most: usize) -> Result<(), DemoError> {
        self.story.command(&format!("steno read --store {} '{query}'", self.shown))?;
        let mut lines = String::new();
        let _ = self.each_packet(query, |line, _| {
            lines.push_str(&line);
            lines.push('\n');
        })?;
        self.story.output(lines, most)?;
        Ok(())
    }

    fn show_file(&mut self, query: &str) -> Result<(), DemoError> {
        self.story.command(&format!("steno read --store {} '{query}' -w echo.pcap", self.shown))?;
        let mut answer = self.store.answer(&self.parse(query)?, self.options());
        let mut chunk = Vec::new();
        while answer.next_chunk(&mut chunk) {
            self.watch.check()?;
        }
        self.story.prose_output(&answer.receipt().to_string())?;
        Ok(())
    }

    fn show_flows(&mut self, query: &str) -> Result<(), DemoError> {
        self.story.command(&format!("steno flows --store {} '{query}'", self.shown))?;
        let flows = self.store.flows(&self.parse(query)?, &self.options());
        let heading = format!("{:<40} {:>12} {:>12}", "CONVERSATION", "SENT", "RECEIVED");
        let rows = flows.iter().map(|flow| flow_line(&flow));
        let table: Vec<String> = std::iter::once(heading).chain(rows).collect();
        self.story.output(table.join("\n"), LINES_SHOWN)?;
        Ok(())
    }

    fn count(&self, query: &str) -> Result<u64, DemoError> {
        self.each_packet(query, |_, _| ()).map(|receipt| receipt.packets)
    }

    /// Hands each packet of an answer to `take`, as a line and as its frame.
    fn each_packet(&self, query: &str, mut take: impl FnMut(String, &[u8])) -> Result<Receipt, DemoError> {
        let mut answer = self.store.answer(&self.parse(query)?, self.options());
        while let Some(packet) = answer.next_packet() {
            self.watch.check()?;
            take(packet_line(packet.time, packet.wire_len, &packet.frame), &packet.frame.to_vec());
        }
        Ok(answer.receipt())
    }

    fn parse(&self, query: &str) -> Result<Query, DemoError> {
        parse(query, SystemClock.now()).map_err(DemoError::at(format!("ask `{query}`")))
    }

    fn options(&self) -> Options {
        Options { deadline: Some(Instant::now() + ANSWER_LIMIT), ..Options::default() }
    }
}

/// A conversation as one narrow line; bytes are those on the wire, headers included.
fn flow_line(flow: &Flow) -> String {
    let end = |addr, port| Endpoint { addr, port }.to_string();
    let (a, b) = (end(flow.a, flow.a_port), end(flow.b, flow.b_port));
    let [sent, received] = [flow.a_to_b.bytes, flow.b_to_a.bytes].map(|bytes| format!("{} B", grouped(bytes)));
    format!("{:<40} {sent:>12} {received:>12}", format!("{a} > {b}"))
}

/// Exactly one conversation, both ways.
fn conversation_query(conversation: &Conversation) -> String {
    let Conversation { transport, client, server, .. } = conversation;
    let transport = match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    format!(
        "{transport} and host {} and host {} and port {} and port {}",
        client.ip(),
        server.ip(),
        client.port(),
        server.port()
    )
}
