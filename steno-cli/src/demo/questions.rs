//! Asks the sensor, shows its answers, and holds them against what was sent.

use std::io::Write;
use std::time::{Duration, Instant};

use steno_core::TimestampNs;
use steno_core::packet::Frame;
use steno_index::Endpoint;
use steno_query::{Flow, rfc3339};

use super::DemoError;
use super::check::Rebuilt;
use super::client::Client;
use super::story::{Story, grouped};
use super::traffic::{Conversation, Transport, dns, echo, web};
use super::watch::Watch;
use crate::print::packet_line;

/// How long what was captured may take to its file: a segment lasts a second.
const SEALED_WITHIN: Duration = Duration::from_secs(15);
/// So many lines of a short answer are shown, and of one whose beginning tells enough.
const LINES_SHOWN: usize = 12;
const FIRST_LINES: usize = 5;

/// What a comparison came to.
struct Check {
    faults: Vec<String>,
    /// Those of the conversations.
    packets: u64,
}

/// The sensor, and the story that its answers are told in.
pub(super) struct Questions<'a, W> {
    client: &'a Client<'a>,
    /// The sensor's configuration as commands are to name it.
    config: String,
    /// The end of the conversations. The sensor goes on capturing, so that no answer about now can be complete.
    end: TimestampNs,
    watch: &'a Watch,
    story: &'a mut Story<W>,
}

impl<'a, W: Write> Questions<'a, W> {
    pub(super) fn new(
        client: &'a Client<'a>,
        config: String,
        end: TimestampNs,
        watch: &'a Watch,
        story: &'a mut Story<W>,
    ) -> Self {
        Self { client, config, end, watch, story }
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
                 standard error: whether it is complete, what was searched, and what is missing, if anything is. \
                 (Capture goes on: only of what is past can there be a complete answer.)",
            )?;
            self.show_file(&format!("host {} and port {}", echoed.client.ip(), echo::PORT))?;
        }
        Ok(())
    }

    /// Asks for each conversation, rebuilds it from the packets, and compares, until all are there: for a while they are in
    /// memory, and what is still being captured may be of their time. Returns how many packets they are.
    pub(super) fn wait(&self, conversations: &[Conversation]) -> Result<u64, DemoError> {
        let began = Instant::now();
        self.watch.until("find what was sent", SEALED_WITHIN, || {
            let last = conversations.last().map(|last| self.compare_one(last)).transpose()?;
            let found = match last {
                Some((packets, faults)) if !faults.is_empty() => Check { faults, packets },
                _ => self.check(conversations)?,
            };
            match found.faults.is_empty() {
                true => Ok(Some(found.packets)),
                false if began.elapsed() > SEALED_WITHIN => Err(DemoError::Differs { faults: found.faults }),
                false => Ok(None),
            }
        })
    }

    /// Holds what is found against what was sent, and tells of it.
    pub(super) fn compare(&mut self, conversations: &[Conversation]) -> Result<(), DemoError> {
        self.story.step("Is it all there?")?;
        self.story.say(
            "The demo remembers every byte that its clients and servers exchanged. It now asks the sensor for each \
             conversation, puts it together again from the packets found, and compares.",
        )?;
        let packets = self.wait(conversations)?;
        let bytes: usize = conversations.iter().map(|each| each.to_server.len() + each.to_client.len()).sum();
        self.story.say(&format!(
            "{0} of {0} conversations found in {1} packets, each of the {2} bytes sent in its place.",
            conversations.len(),
            grouped(packets),
            grouped(bytes as u64)
        ))?;
        Ok(())
    }

    fn check(&self, conversations: &[Conversation]) -> Result<Check, DemoError> {
        let mut check = Check { faults: Vec::new(), packets: 0 };
        for conversation in conversations {
            let (found, faults) = self.compare_one(conversation)?;
            check.faults.extend(faults);
            check.packets += found;
        }
        let stored = self.client.packets(&self.past("(tcp or udp)"))?.packets.len() as u64;
        if stored != check.packets {
            check.faults.push(format!(
                "{stored} TCP and UDP packets are stored, {} belong to conversations that were held",
                check.packets
            ));
        }
        Ok(check)
    }

    /// How many packets were found, and what is wrong with them.
    fn compare_one(&self, conversation: &Conversation) -> Result<(u64, Vec<String>), DemoError> {
        let query = self.past(&conversation_query(conversation));
        let mut rebuilt = Rebuilt::new(conversation);
        let answer = self.client.packets(&query)?;
        answer.packets.iter().for_each(|packet| rebuilt.take(&packet.frame));
        let mut faults = rebuilt.faults();
        if !answer.receipt.is_complete() {
            faults.push(format!("{}: {}", conversation.what, answer.receipt));
        }
        let (to_server, to_client) = rebuilt.packets();
        let flows = self.client.flows(&query)?;
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
        self.story.command(&format!("steno read --config {} '{query}'", self.config))?;
        let mut lines = String::new();
        for packet in self.client.packets(query)?.packets {
            lines.push_str(&packet_line(packet.time, packet.wire_len, &Frame::new(&packet.frame)));
            lines.push('\n');
        }
        self.story.output(lines, most)?;
        Ok(())
    }

    fn show_file(&mut self, query: &str) -> Result<(), DemoError> {
        let query = self.past(query);
        self.story.command(&format!("steno read --config {} '{query}' -w echo.pcap", self.config))?;
        let answer = self.watch.until(&format!("have all of `{query}`"), SEALED_WITHIN, || {
            let answer = self.client.packets(&query)?;
            Ok(answer.receipt.is_complete().then_some(answer))
        })?;
        self.story.prose_output(&answer.receipt.to_string())?;
        Ok(())
    }

    fn show_flows(&mut self, query: &str) -> Result<(), DemoError> {
        self.story.command(&format!("steno flows --config {} '{query}'", self.config))?;
        let flows = self.client.flows(query)?;
        let heading = format!("{:<40} {:>12} {:>12}", "CONVERSATION", "SENT", "RECEIVED");
        let rows = flows.iter().map(flow_line);
        let table: Vec<String> = std::iter::once(heading).chain(rows).collect();
        self.story.output(table.join("\n"), LINES_SHOWN)?;
        Ok(())
    }

    /// A query, as far as it is about the time of the conversations.
    fn past(&self, query: &str) -> String {
        format!("{query} and before {}", rfc3339(self.end))
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
