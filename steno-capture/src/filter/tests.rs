//! Programs made here are held against tcpdump's, by running both on the same packets.

use std::process::Command;

use steno_core::testkit::{FrameBuilder, need, shared_dir};

use super::{check, generate::generate, words::parse};
use crate::sys::FilterInstruction;

/// Runs a program as the kernel does (bpf(4), "FILTER MACHINE"): bytes that are let in.
fn run(program: &[FilterInstruction], packet: &[u8]) -> u32 {
    let (mut a, mut x, mut memory, mut at) = (0u32, 0u32, [0u32; 16], 0usize);
    let bytes = |from: u64, len: usize| {
        let from = usize::try_from(from).unwrap();
        let bytes = packet.get(from..from + len)?;
        Some(bytes.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)))
    };
    loop {
        let FilterInstruction { code, jump_true, jump_false, k } = program[at];
        at += 1;
        let width = match code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            _ => 1,
        };
        let operand = if code & 0x08 == 0 { k } else { x };
        let loaded = match code {
            0x20 | 0x28 | 0x30 => bytes(k.into(), width),
            0x40 | 0x48 | 0x50 => bytes(u64::from(x) + u64::from(k), width),
            0xb1 => bytes(k.into(), 1),
            _ => Some(0),
        };
        let Some(loaded) = loaded else { return 0 };
        let mut jump = |taken: bool| at += usize::from(if taken { jump_true } else { jump_false });
        match code {
            0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50 => a = loaded,
            0x80 => a = u32::try_from(packet.len()).unwrap(),
            0x00 => a = k,
            0x01 => x = k,
            0xb1 => x = (loaded & 0xf) * 4,
            0x60 => a = memory[k as usize],
            0x61 => x = memory[k as usize],
            0x02 => memory[k as usize] = a,
            0x03 => memory[k as usize] = x,
            0x04 | 0x0c => a = a.wrapping_add(operand),
            0x14 | 0x1c => a = a.wrapping_sub(operand),
            0x44 | 0x4c => a |= operand,
            0x54 | 0x5c => a &= operand,
            0x64 => a <<= k,
            0x74 => a >>= k,
            0x05 => at += k as usize,
            0x15 | 0x1d => jump(a == operand),
            0x25 | 0x2d => jump(a > operand),
            0x35 | 0x3d => jump(a >= operand),
            0x45 | 0x4d => jump(a & operand != 0),
            0x06 => return k,
            0x16 => return a,
            0x07 => x = a,
            0x87 => a = x,
            other => panic!("code {other:#06x} is not known here"),
        }
    }
}

fn compiled(text: &str) -> Vec<FilterInstruction> {
    let program = generate(&parse(text).unwrap_or_else(|e| panic!("{text}: {e}")));
    assert_eq!(check(&program), Ok(()), "{text}");
    program
}

/// tcpdump's program. It makes none that would let nothing in.
fn of_tcpdump(text: &str) -> Vec<FilterInstruction> {
    let output = Command::new("tcpdump").args(["-y", "EN10MB", "-ddd", "--", text]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let fields = |line: &str| line.split(' ').map(|field| field.parse::<u32>().unwrap()).collect::<Vec<_>>();
    let instruction = |f: Vec<u32>| FilterInstruction {
        code: u16::try_from(f[0]).unwrap(),
        jump_true: u8::try_from(f[1]).unwrap(),
        jump_false: u8::try_from(f[2]).unwrap(),
        k: f[3],
    };
    let why = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() || why.contains("rejects all packets"), "{why}");
    let program: Vec<_> = text.lines().skip(1).map(|line| instruction(fields(line))).collect();
    if program.is_empty() { super::NOTHING.to_vec() } else { program }
}

const V6: [[u8; 16]; 2] = [
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 1],
    [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 7, 2],
];

/// Packets of each kind.
fn whole_frames() -> Vec<Vec<u8>> {
    let (a, b) = ([10, 0, 0, 1], [192, 168, 7, 200]);
    let ethernet = FrameBuilder::ethernet;
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1, 2, 2, 2, 2, 2, 2][..], &a, &[0; 6], &b].concat();
    vec![
        ethernet().ipv4(a, b).tcp(40_000, 80).payload(&[1; 30]).build(),
        ethernet().ipv4(b, a).tcp(80, 40_000).build(),
        ethernet().ipv4(a, b).udp(53, 8_050).payload(&[1; 700]).build(),
        ethernet().ipv4_with_options(a, b, 8).udp(1_000, 53).build(),
        ethernet().ipv4(a, b).protocol(132, &[0, 80, 0, 53, 0, 0, 0, 0, 0, 0, 0, 0]).build(),
        ethernet().ipv4(a, b).protocol(1, &[8, 0, 0, 0, 0, 0, 0, 0]).build(),
        ethernet().ipv4(a, b).protocol(47, &[0; 8]).build(),
        ethernet().ipv4(a, b).fragment(7, 0, true).udp(1_000, 53).payload(&[1; 16]).build(),
        ethernet().ipv4(a, b).fragment(7, 3, false).payload(&[0, 80, 0, 53, 0, 0]).build(),
        ethernet().ipv6(V6[0], V6[1]).tcp(40_000, 443).build(),
        ethernet().ipv6(V6[1], V6[0]).udp(53, 53).build(),
        ethernet().ipv6(V6[0], V6[1]).protocol(58, &[128, 0, 0, 0]).build(),
        ethernet().ipv6(V6[0], V6[1]).fragment(9, 0, true).udp(8_000, 53).build(),
        ethernet().ipv6(V6[0], V6[1]).udp(8_000, 53).build(),
        ethernet().ipv6(V6[0], V6[1]).extension(0, 1).tcp(80, 443).build(),
        ethernet().tag(0x8100, 100).ipv4(a, b).tcp(40_000, 80).build(),
        ethernet().mpls(16).ipv4(a, b).tcp(40_000, 80).build(),
        ethernet().other(0x0806, &arp).build(),
        ethernet().other(0x8035, &arp).build(),
        ethernet().other(0x88cc, &[7; 20]).build(),
    ]
}

/// The same, whole and cut anywhere.
fn frames() -> Vec<Vec<u8>> {
    let whole = whole_frames();
    let cut = whole.iter().flat_map(|frame| (0..frame.len().min(70)).map(|len| frame[..len].to_vec()));
    cut.chain(whole.iter().cloned()).collect()
}

/// Frames of Ethernet captures beside the repository, where they are.
fn captured() -> Vec<Vec<u8>> {
    let Some(shared) = shared_dir(env!("CARGO_MANIFEST_DIR")) else { return Vec::new() };
    let Ok(file) = std::fs::read(shared.join("corpus/mixed.pcap")) else { return Vec::new() };
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let (mut frames, mut at) = (Vec::new(), 24);
    while at + 16 <= file.len() {
        let len = word(at + 8);
        frames.push(file[at + 16..at + 16 + len].to_vec());
        at += 16 + len;
    }
    frames
}

const PRIMITIVES: &[&str] = &[
    "ip",
    "ip6",
    "arp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "host 10.0.0.1",
    "src host 10.0.0.1",
    "dst host 10.0.0.1",
    "src 192.168.7.200",
    "dst 192.168.7.200",
    "ip host 10.0.0.1",
    "ip src 10.0.0.1",
    "arp host 10.0.0.1",
    "arp src host 10.0.0.1",
    "host 2001:db8::701",
    "src host 2001:db8::701",
    "ip6 dst host 2001:db8:1::702",
    "net 10.0.0.0/8",
    "src net 192.168.7.128/25",
    "dst net 10.0.0.0 mask 255.255.0.0",
    "net 192.168.7.200/32",
    "net 0.0.0.0/0",
    "arp net 10.0.0.0/30",
    "net 2001:db8::/32",
    "src net 2001:db8::/48",
    "net 2001:db8::/47",
    "port 80",
    "src port 53",
    "dst port 53",
    "tcp port 80",
    "tcp dst port 443",
    "udp src port 53",
    "sctp port 53",
    "portrange 50-90",
    "src portrange 8000-8100",
    "udp portrange 8000-8100",
    "tcp dst portrange 0-65535",
    "ip proto 47",
    "ip proto \\udp",
    "ip6 proto 58",
    "ip6 proto 6",
    "proto 17",
    "less 100",
    "greater 700",
];

const COMPOUND: &[&str] = &[
    "host 10.0.0.1 or 192.168.7.9",
    "not tcp",
    "! tcp and not ( udp or arp )",
    "!(tcp) && !(udp || arp)",
    "tcp and port 80 or udp and port 53",
    "udp or tcp and port 80",
    "udp or (tcp and port 80)",
    "host 10.0.0.1 or 192.168.7.200 and not 10.9.9.9",
    "tcp port 80 or 443 or 8080",
    "src port 53 or 80 and dst net 10.0.0.0/8 or 192.168.0.0/16",
    "not (host 10.0.0.1 and (port 80 or 53)) and ip",
    "ip and not net 10.0.0.0/8 and not net 192.168.0.0/16 or ip6",
    "icmp or icmp6 or arp",
];

/// xorshift64: any numbers do, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    fn expression(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 1 } else { 6 }) {
            0 => PRIMITIVES[self.below(PRIMITIVES.len())].to_owned(),
            1 => format!("not {}", self.expression(0)),
            2 => format!("( {} )", self.expression(depth - 1)),
            3 => format!("not ( {} )", self.expression(depth - 1)),
            4 => format!("{} and {}", self.expression(depth - 1), self.expression(depth - 1)),
            _ => format!("{} or {}", self.expression(depth - 1), self.expression(depth - 1)),
        }
    }
}

#[test]
fn programs_let_in_what_those_of_tcpdump_let_in() {
    if !need(Command::new("tcpdump").arg("--version").output().is_ok(), "tcpdump") {
        return;
    }
    let captured = captured();
    if !need(!captured.is_empty(), "../shared/corpus/mixed.pcap") {
        eprintln!("only made packets are compared");
    }
    let compare = |text: &str, frames: &mut dyn Iterator<Item = &Vec<u8>>| {
        let (ours, theirs) = (compiled(text), of_tcpdump(text));
        for frame in frames {
            let verdicts = (run(&ours, frame) > 0, run(&theirs, frame) > 0);
            assert_eq!(verdicts.0, verdicts.1, "{text}: ours, theirs, of {frame:02x?}\n{ours:?}");
        }
    };
    let (any, whole) = (frames(), whole_frames());
    for text in PRIMITIVES.iter().chain(COMPOUND) {
        compare(text, &mut any.iter().chain(&captured));
    }
    // tcpdump does not look at a packet where the answer is plain without, as for `icmp and arp`: it is only on packets that
    // end too early that this makes a difference.
    let mut numbers = Numbers(0x05ee_d0ff_11e5);
    for _ in 0..150 {
        compare(&numbers.expression(3), &mut whole.iter().chain(captured.iter().filter(|frame| frame.len() >= 60)));
    }
}

#[test]
fn each_primitive_lets_something_in_and_keeps_something_out() {
    let frames = frames();
    for text in PRIMITIVES {
        let program = compiled(text);
        let let_in = frames.iter().filter(|frame| run(&program, frame) > 0).count();
        assert!(let_in > 0 && let_in < frames.len(), "{text}: {let_in} of {}", frames.len());
    }
}

#[test]
fn jumps_lead_across_any_distance() {
    let ports: Vec<String> = (0..120).map(|i| format!("port {}", 10_000 + i)).collect();
    let program = compiled(&format!("{} or port 80", ports.join(" or ")));
    assert!(program.len() > 2_000, "{}", program.len());
    let frame = |port| FrameBuilder::ethernet().ipv4([1, 1, 1, 1], [2, 2, 2, 2]).tcp(port, 9).build();
    for (port, let_in) in [(80, true), (10_000, true), (10_119, true), (10_120, false), (9, false)] {
        assert_eq!(run(&program, &frame(port)) > 0, let_in, "{port}");
    }
    let negated = compiled(&format!("not ({})", ports.join(" or ")));
    assert_eq!((run(&negated, &frame(10_100)), run(&negated, &frame(80))), (0, 0x4_0000));
}

#[test]
fn what_is_beyond_the_plain_part_is_left_to_others() {
    for text in [
        "tcp[13] & 2 != 0",
        "vlan 7",
        "ether host 02:00:00:00:00:01",
        "host example",
        "port http",
        "port 010",
        "port 65536",
        "net 10",
        "net 10.0.0.0/33",
        "ip host 2001:db8::1",
        "src and dst port 80",
        "src or dst host 10.0.0.1",
        "ip port 80",
        "tcp host 10.0.0.1",
        "src tcp",
        "src",
        "host",
        "tcp port",
        "port 80 tcp",
        "tcp and",
        "and tcp",
        "tcp or 80",
        "10.0.0.1",
        "port (80 or 443)",
        "( tcp",
        "tcp )",
        "not",
        "less",
        "tcp && & udp",
        "tcp ä",
        "portrange 90-80",
    ] {
        assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
    }
    let deep = format!("{}tcp{}", "(".repeat(101), ")".repeat(101));
    assert!(parse(&deep).unwrap_err().contains("within each other"));
    assert!(parse(&vec!["tcp"; 1_001].join(" or ")).unwrap_err().contains("1000 primitives"));
}
