//! The steps of the demo in their order, and what is said about each.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use steno_core::{Clock, SystemClock};
use steno_query::{Options, Store, parse};

use super::client::Client;
use super::daemon::{Daemon, Programs};
use super::folder::Folder;
use super::peer::Peer;
use super::questions::Questions;
use super::story::{Story, grouped};
use super::traffic::{Conversation, Servers, dns, echo, web};
use super::watch::Watch;
use super::wire::{self, CLIENT, SERVER, Wire};
use super::{DemoArgs, DemoError, stranger};
use crate::command::status_page;
use crate::sys::{Isolation, isolate};

/// The demo takes some six seconds; a machine that is very busy may take longer.
const WHOLE: Duration = Duration::from_secs(45);
/// How long one conversation may take: its sockets give up sooner.
const CONVERSATION_LIMIT: Duration = Duration::from_secs(20);
/// Between conversations, so that they fall into more than one segment.
const PAUSE: Duration = Duration::from_millis(150);
/// How long the counts of capture may lag behind its files.
const COUNTED_WITHIN: Duration = Duration::from_secs(10);
/// So many lines of a status are shown; it has fewer.
const STATUS_LINES: usize = 20;
/// The echo client sends so many pieces of 16 KiB.
const ECHO_PIECES: u32 = 16;

/// Runs the demo. It must be called while the process has one thread. A reader of standard output that goes away ends
/// it without an error: it has seen what it wanted.
///
/// # Errors
/// [`DemoError`]: the step that failed and why. The sensor is stopped and a temporary folder removed in any case.
pub fn run(args: &DemoArgs) -> Result<(), DemoError> {
    match steps(args) {
        Err(DemoError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn steps(args: &DemoArgs) -> Result<(), DemoError> {
    let watch = Watch::begin(WHOLE).map_err(DemoError::at("handle signals"))?;
    let mut story = Story::new(anstream::stdout().lock());
    let programs = Programs::find()?;
    let folder = Folder::make(args.keep.as_deref())?;
    story.title("Steno records every packet of a network link, and finds any of them again. Watch it do so:")?;

    story.step("A private network")?;
    let isolation = isolate().map_err(DemoError::at("enter a private network"))?;
    let peer = Peer::start(&watch)?;
    let wire = wire::lay(&peer, &watch)?;
    tell_network(&mut story, isolation, wire)?;

    story.step("A sensor")?;
    story.say(
        "stenographer, the daemon, gets certificates of its own and a configuration. It has stenotype, the capture \
         program, listen on the server's end, write each packet to disk, and start a new pair of files (packets and \
         their index) every second, as it would every minute on a real sensor.",
    )?;
    let shown = if folder.is_temporary() { "DIR".to_owned() } else { folder.path().display().to_string() };
    story.command(&format!("stenographer -config {shown}/config"))?;
    let mut daemon = Daemon::start(&programs, folder.path())?;
    let told = with_sensor(&mut daemon, &peer, wire, &shown, &mut story, &watch);
    let packets = told.map_err(|error| daemon.explain(error))?;
    tell_files(&mut story, folder.path(), &shown, packets)?;
    tell_what_next(&mut story, &folder)
}

/// What is done while the sensor runs, to its end. Returns how many packets the conversations were.
fn with_sensor(
    daemon: &mut Daemon,
    peer: &Peer,
    wire: Wire,
    shown: &str,
    story: &mut Story<impl Write>,
    watch: &Watch,
) -> Result<u64, DemoError> {
    let began = Instant::now();
    let client = daemon.ready(watch)?;
    let took = began.elapsed().as_millis();
    story.say(&format!(
        "{took} ms later it captures, and answers who shows a certificate that its own CA has signed."
    ))?;

    story.step("Real traffic")?;
    let conversations = converse(story, peer, wire, watch)?;
    let end = SystemClock.now();
    let ended = Instant::now();
    let config = format!("{shown}/config");
    let packets = Questions::new(&client, config.clone(), end, watch, story).wait(&conversations)?;
    story
        .say(&format!("{} ms after the last of them all is in files and can be found.", ended.elapsed().as_millis()))?;
    tell_status(&client, packets, shown, story, watch)?;

    let mut questions = Questions::new(&client, config, end, watch, story);
    questions.ask(&conversations)?;
    questions.compare(&conversations)?;
    story.say("And who calls without a certificate? The sensor hangs up:")?;
    story.output(stranger::call(&daemon.location()?)?, 1)?;

    story.step("The sensor stops")?;
    drop(client);
    let asked = Instant::now();
    daemon.stop(watch)?;
    story.say(&format!(
        "Asked to end (SIGTERM), the daemon ended its streams, had stenotype write what the kernel still held and seal \
         the last file, and was gone {} ms later.",
        asked.elapsed().as_millis()
    ))?;
    Ok(packets)
}

/// Shows the status once the counts, which capture reports each second, have reached the `packets` that were found.
fn tell_status(
    client: &Client<'_>,
    packets: u64,
    shown: &str,
    story: &mut Story<impl Write>,
    watch: &Watch,
) -> Result<(), DemoError> {
    story.step("The sensor at work")?;
    story.say("It tells how it fares while it captures, over mutual TLS, as all that follows:")?;
    story.command(&format!("steno status --config {shown}/config"))?;
    let status = watch.until("see what was captured counted", COUNTED_WITHIN, || {
        let status = client.status()?;
        let counted: u64 = status.threads.iter().map(|thread| thread.packets).sum();
        Ok((counted >= packets).then_some(status))
    })?;
    story.output(status_page(status), STATUS_LINES)?;
    Ok(())
}

fn tell_network(story: &mut Story<impl Write>, isolation: Isolation, wire: Wire) -> Result<(), DemoError> {
    story.say(match isolation {
        Isolation::UserAndNetwork => {
            "This program has moved into a user namespace and a network namespace of its own: in there it may do \
             everything, out here nothing more than before. Nothing of what follows touches this machine's network."
        }
        Isolation::NetworkOnly => {
            "This program, run by root, has moved into a network namespace of its own. Nothing of what follows \
             touches this machine's network."
        }
    })?;
    story.say("It holds one virtual cable:")?;
    let address = |v4: IpAddr, v6: IpAddr| if wire.ipv6 { format!("{v4}, {v6}") } else { v4.to_string() };
    let (client, server) = (address(CLIENT.v4.into(), CLIENT.v6.into()), address(SERVER.v4.into(), SERVER.v6.into()));
    story.output(format!("clients ({client}) <========> servers and sensor ({server})"), 1)?;
    if !wire.ipv6 {
        story.say("IPv6 is switched off on this machine: all conversations will use IPv4.")?;
    }
    if !wire.like_a_cable {
        story.say(
            "The kernel does not let its offloads be switched off here: the sensor may see segments of up to 64 KiB \
             where a real cable would carry several frames.",
        )?;
    }
    Ok(())
}

/// Starts the servers, has every client talk, and tells of each.
fn converse(
    story: &mut Story<impl Write>,
    peer: &Peer,
    wire: Wire,
    watch: &Watch,
) -> Result<Vec<Conversation>, DemoError> {
    let main = IpAddr::V4(SERVER.v4);
    let echo_at = if wire.ipv6 { IpAddr::V6(SERVER.v6) } else { main };
    let _servers = start_servers(main, echo_at).map_err(DemoError::at("start the servers of the demo"))?;
    story.say(
        "Clients on the other end now talk to servers on this one, by the kernel's own TCP and UDP: names are looked \
         up, web pages fetched, and bytes echoed.",
    )?;
    let mut conversations = Vec::new();
    let mut talk = |story: &mut Story<_>, client: Talk| {
        let what = "have a conversation across the cable";
        let result = peer.call(watch, what, CONVERSATION_LIMIT, client)?;
        let conversation = result.map_err(DemoError::at(what))?;
        story.output(conversation.to_string(), 1)?;
        conversations.push(conversation);
        thread::sleep(PAUSE);
        watch.check()
    };
    for (id, (name, _)) in (1..).zip(dns::NAMES) {
        let server = SocketAddr::new(main, dns::PORT);
        talk(story, Box::new(move || dns::look_up(server, name, id)))?;
    }
    for (path, _) in web::PAGES {
        let server = SocketAddr::new(main, web::PORT);
        talk(story, Box::new(move || web::get(server, path)))?;
    }
    let server = SocketAddr::new(echo_at, echo::PORT);
    talk(story, Box::new(move || echo::exchange(server, ECHO_PIECES)))?;
    Ok(conversations)
}

/// What a client does on the peer's thread.
type Talk = Box<dyn FnOnce() -> io::Result<Conversation> + Send>;

fn start_servers(main: IpAddr, echo_at: IpAddr) -> io::Result<Servers> {
    let names = UdpSocket::bind(SocketAddr::new(main, dns::PORT))?;
    let pages = TcpListener::bind(SocketAddr::new(main, web::PORT))?;
    let echoes = TcpListener::bind(SocketAddr::new(echo_at, echo::PORT))?;
    Servers::start(names, pages, echoes)
}

/// Tells of the files, and reads them without the sensor: the TCP and UDP packets in them must be `expected`.
fn tell_files(story: &mut Story<impl Write>, folder: &Path, shown: &str, expected: u64) -> Result<(), DemoError> {
    let at = "list what was captured";
    let packets = Files::of(&folder.join("PKT0")).map_err(DemoError::at(at))?;
    let indexes = Files::of(&folder.join("IDX0")).map_err(DemoError::at(at))?;
    story.say(&format!(
        "It leaves {} pairs of files: PKT0/ holds the packets ({} KiB on disk), IDX0/ an index for each file ({} KiB). \
         They can be asked without a sensor, too:",
        packets.count,
        grouped(packets.disk_bytes.div_ceil(1024)),
        grouped(indexes.disk_bytes.div_ceil(1024)),
    ))?;
    story.command(&format!("steno read --store {shown} 'tcp or udp' -w all.pcap"))?;
    let at = "read the files without the sensor";
    let query = parse("tcp or udp", SystemClock.now()).map_err(DemoError::at(at))?;
    let mut answer = Store::open(folder).map_err(DemoError::at(at))?.answer(&query, Options::default());
    let mut chunk = Vec::new();
    while answer.next_chunk(&mut chunk) {}
    let receipt = answer.receipt();
    story.prose_output(&receipt.to_string())?;
    if !receipt.is_complete() || receipt.packets < expected {
        let fault = format!("the sensor gave {expected} packets, its files have {}", receipt.packets);
        return Err(DemoError::Differs { faults: vec![fault] });
    }
    Ok(())
}

/// The files of a folder.
struct Files {
    count: u64,
    /// What they take on disk: holes take nothing.
    disk_bytes: u64,
}

impl Files {
    fn of(dir: &Path) -> io::Result<Self> {
        let mut files = Self { count: 0, disk_bytes: 0 };
        for entry in fs::read_dir(dir)? {
            files.count += 1;
            // st_blocks counts units of 512 bytes: stat(2).
            files.disk_bytes += entry?.metadata()?.blocks() * 512;
        }
        Ok(files)
    }
}

fn tell_what_next(story: &mut Story<impl Write>, folder: &Folder) -> Result<(), DemoError> {
    story.step("On a real link")?;
    story.say("The same programs do the same on a real interface, there with the right to capture:")?;
    story.command("sudo stenographer -interface eth0")?;
    story.command("sudo steno read 'host 10.0.0.1 and port 443 and last 10m' -w out.pcap")?;
    story.command("sudo steno status")?;
    story.command("steno import old.pcap --store DIR")?;
    story.command("steno help query")?;
    if folder.is_temporary() {
        story.say("The files of this demo are removed now; `steno demo --keep DIR` keeps them to be queried.")?;
    } else {
        story.say(&format!("The files of this demo stay in {}.", folder.path().display()))?;
    }
    Ok(())
}
