//! From what a filter says to the program that the kernel runs (linux/filter.h), for Ethernet frames.
//!
//! Code is made from its end to its start, because a classic BPF program only jumps forward: where a jump leads to is
//! known when the jump is made. As with tcpdump, a packet that ends before what is looked at is not let in.

use super::{
    program::{JUMP_ALWAYS, RETURN_CONSTANT},
    words::{Expr, Network, Prefix, Primitive, Side},
};
use crate::sys::FilterInstruction;

/// BPF_LD with the width and the way to the packet's bytes.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
/// At a constant plus X.
const LOAD_HALF_BEHIND_X: u16 = 0x48;
/// The packet's length.
const LOAD_LENGTH: u16 = 0x80;
/// X becomes 4 times the lower half of a byte: the length of an IPv4 header.
const LOAD_X_HEADER_LENGTH: u16 = 0xb1;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;

/// Bytes of a packet that are let in: all, as tcpdump says it.
const WHOLE_PACKET: u32 = 0x0004_0000;
/// How far a conditional jump is let lead; two more instructions may come between.
const NEAR: usize = 250;

/// Where things are in an Ethernet frame.
const ETHER_TYPE_AT: u32 = 12;
const IP_AT: u32 = 14;
const IP_FRAGMENT_AT: u32 = IP_AT + 6;
const IP_PROTOCOL_AT: u32 = IP_AT + 9;
const IP_ADDRESSES_AT: [u32; 2] = [IP_AT + 12, IP_AT + 16];
const IP6_NEXT_AT: u32 = IP_AT + 6;
const IP6_ADDRESSES_AT: [u32; 2] = [IP_AT + 8, IP_AT + 24];
const IP6_PAYLOAD_AT: u32 = IP_AT + 40;
const ARP_ADDRESSES_AT: [u32; 2] = [IP_AT + 14, IP_AT + 24];

const IP: u32 = 0x0800;
const ARP: u32 = 0x0806;
const REVERSE_ARP: u32 = 0x8035;
const IP6: u32 = 0x86dd;
/// The offset in the fragment field of an IPv4 header.
const FRAGMENT_OFFSET: u32 = 0x1fff;
/// The fragment header of IPv6.
const IP6_FRAGMENT: u32 = 44;
/// TCP, UDP, SCTP.
const TRANSPORTS: [u8; 3] = [6, 17, 132];

/// Makes the program.
pub(super) fn generate(expr: &Expr) -> Vec<FilterInstruction> {
    let mut code = Code { backwards: Vec::new() };
    let no = code.push(RETURN_CONSTANT, 0);
    let yes = code.push(RETURN_CONSTANT, WHOLE_PACKET);
    let start = code.expr(expr, yes, no);
    let _ = code.start_at(start);
    code.backwards.reverse();
    code.backwards
}

/// A place in the code: where control goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Label(usize);

struct Code {
    /// The program, its last instruction first.
    backwards: Vec<FilterInstruction>,
}

impl Code {
    /// Puts an instruction before all others. Unless it jumps or returns, it goes on with the one that was put last.
    fn push(&mut self, code: u16, k: u32) -> Label {
        self.jump(code, k, 0, 0)
    }

    fn jump(&mut self, code: u16, k: u32, jump_true: usize, jump_false: usize) -> Label {
        // `near` keeps both in range; what is not would be refused by `check`.
        let short = |distance| u8::try_from(distance).unwrap_or(u8::MAX);
        let (jump_true, jump_false) = (short(jump_true), short(jump_false));
        self.backwards.push(FilterInstruction { code, jump_true, jump_false, k });
        Label(self.backwards.len() - 1)
    }

    /// Instructions between the next one and `to`.
    fn distance(&self, to: Label) -> usize {
        self.backwards.len() - 1 - to.0
    }

    /// A place from which control goes on at `to`, and which a conditional jump reaches.
    fn near(&mut self, to: Label) -> Label {
        let distance = self.distance(to);
        if distance <= NEAR {
            return to;
        }
        self.push(JUMP_ALWAYS, u32::try_from(distance).unwrap_or(u32::MAX))
    }

    /// Has the program begin at `start`, wherever that is.
    fn start_at(&mut self, start: Label) -> Label {
        match u32::try_from(self.distance(start)) {
            Ok(0) => start,
            distance => self.push(JUMP_ALWAYS, distance.unwrap_or(u32::MAX)),
        }
    }

    fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        let (yes, no) = (self.near(yes), self.near(no));
        self.jump(code, k, self.distance(yes), self.distance(no))
    }

    /// Code that goes on at `yes` for packets of which `expr` holds, and at `no` for others.
    fn expr(&mut self, expr: &Expr, yes: Label, no: Label) -> Label {
        match expr {
            Expr::And(a, b) => {
                let b = self.expr(b, yes, no);
                self.expr(a, b, no)
            }
            Expr::Or(a, b) => {
                let b = self.expr(b, yes, no);
                self.expr(a, yes, b)
            }
            Expr::Not(a) => self.expr(a, no, yes),
            Expr::Is(primitive) => self.primitive(*primitive, yes, no),
        }
    }

    fn primitive(&mut self, primitive: Primitive, yes: Label, no: Label) -> Label {
        match primitive {
            Primitive::Network(network) => self.carries(ether_type(network), yes, no),
            Primitive::Protocol { network: Some(Network::Ip), number } => self.ip_protocol(number, yes, no),
            Primitive::Protocol { network: Some(_), number } => self.ip6_protocol(number, yes, no),
            Primitive::Protocol { network: None, number } => {
                let ip6 = self.ip6_protocol(number, yes, no);
                self.ip_protocol(number, yes, ip6)
            }
            Primitive::Address { side, prefix: Prefix::V6 { address, mask }, .. } => {
                let inside = self
                    .sides(IP6_ADDRESSES_AT, side, yes, no, |code, at, yes, no| code.words(at, address, mask, yes, no));
                self.carries(IP6, inside, no)
            }
            Primitive::Address { network, side, prefix: Prefix::V4 { address, mask } } => {
                self.address(network, side, (address, mask), yes, no)
            }
            Primitive::Port { transport, side, low, high } => {
                let transports = transport.map_or(TRANSPORTS.to_vec(), |transport| vec![transport]);
                let ports = (u32::from(low), u32::from(high));
                let ip6 = self.ip6_port(&transports, side, ports, yes, no);
                self.ip_port(&transports, side, ports, yes, ip6)
            }
            Primitive::Less(bytes) => {
                let _ = self.branch(JUMP_GREATER, bytes, no, yes);
                self.push(LOAD_LENGTH, 0)
            }
            Primitive::Greater(bytes) => {
                let _ = self.branch(JUMP_GREATER_OR_EQUAL, bytes, yes, no);
                self.push(LOAD_LENGTH, 0)
            }
        }
    }

    fn carries(&mut self, ether_type: u32, yes: Label, no: Label) -> Label {
        self.equal(LOAD_HALF, ETHER_TYPE_AT, ether_type, yes, no)
    }

    fn equal(&mut self, load: u16, at: u32, value: u32, yes: Label, no: Label) -> Label {
        let _ = self.branch(JUMP_EQUAL, value, yes, no);
        self.push(load, at)
    }

    fn any_of(&mut self, load: u16, at: u32, values: &[u8], yes: Label, no: Label) -> Label {
        let _ = values.iter().rev().fold(no, |no, value| self.branch(JUMP_EQUAL, u32::from(*value), yes, no));
        self.push(load, at)
    }

    fn within(&mut self, load: u16, at: u32, (low, high): (u32, u32), yes: Label, no: Label) -> Label {
        if low == high {
            return self.equal(load, at, low, yes, no);
        }
        let not_above = self.branch(JUMP_GREATER, high, no, yes);
        let _ = self.branch(JUMP_GREATER_OR_EQUAL, low, not_above, no);
        self.push(load, at)
    }

    /// What `test` makes for the places of the source and the destination, as `side` says.
    fn sides(
        &mut self,
        [source, destination]: [u32; 2],
        side: Side,
        yes: Label,
        no: Label,
        test: impl Fn(&mut Self, u32, Label, Label) -> Label,
    ) -> Label {
        match side {
            Side::Source => test(self, source, yes, no),
            Side::Destination => test(self, destination, yes, no),
            Side::Either => {
                let destination = test(self, destination, yes, no);
                test(self, source, yes, destination)
            }
        }
    }

    fn address(
        &mut self,
        network: Option<Network>,
        side: Side,
        (address, mask): (u32, u32),
        yes: Label,
        no: Label,
    ) -> Label {
        let mut next = no;
        if network != Some(Network::Ip) {
            let arp = self
                .sides(ARP_ADDRESSES_AT, side, yes, no, |code, at, yes, no| code.masked(at, address, mask, yes, no));
            if network.is_none() {
                next = self.carries(REVERSE_ARP, arp, next);
            }
            next = self.carries(ARP, arp, next);
        }
        if network != Some(Network::Arp) {
            let ip =
                self.sides(IP_ADDRESSES_AT, side, yes, no, |code, at, yes, no| code.masked(at, address, mask, yes, no));
            next = self.carries(IP, ip, next);
        }
        next
    }

    /// Whether a word under a mask is what it should be.
    fn masked(&mut self, at: u32, value: u32, mask: u32, yes: Label, no: Label) -> Label {
        if mask == 0 {
            return yes;
        }
        let _ = self.branch(JUMP_EQUAL, value, yes, no);
        if mask != u32::MAX {
            let _ = self.push(AND, mask);
        }
        self.push(LOAD_WORD, at)
    }

    /// The same for the four words of an IPv6 address.
    fn words(&mut self, at: u32, value: u128, mask: u128, yes: Label, no: Label) -> Label {
        let word = |of: u128, number: u32| {
            let [.., a, b, c, d] = (of >> (96 - 32 * number)).to_be_bytes();
            u32::from_be_bytes([a, b, c, d])
        };
        (0..4).rev().fold(yes, |yes, i| self.masked(at + 4 * i, word(value, i), word(mask, i), yes, no))
    }

    fn ip_protocol(&mut self, number: u8, yes: Label, no: Label) -> Label {
        let ip = self.equal(LOAD_BYTE, IP_PROTOCOL_AT, number.into(), yes, no);
        self.carries(IP, ip, no)
    }

    /// The next header, or the one behind a fragment header. (Others are not skipped, as by tcpdump.)
    fn ip6_protocol(&mut self, number: u8, yes: Label, no: Label) -> Label {
        let first = self.equal(LOAD_BYTE, IP6_NEXT_AT, number.into(), yes, no);
        let second = self.equal(LOAD_BYTE, IP6_PAYLOAD_AT, number.into(), yes, first);
        let fragment = self.equal(LOAD_BYTE, IP6_NEXT_AT, IP6_FRAGMENT, second, first);
        self.carries(IP6, fragment, no)
    }

    fn ip_port(&mut self, transports: &[u8], side: Side, ports: (u32, u32), yes: Label, no_ip: Label) -> Label {
        // A packet that is IPv4 is not IPv6: `no_ip` says no to it, too.
        let no = no_ip;
        let _ = self.sides([IP_AT, IP_AT + 2], side, yes, no, |code, at, yes, no| {
            code.within(LOAD_HALF_BEHIND_X, at, ports, yes, no)
        });
        let header = self.push(LOAD_X_HEADER_LENGTH, IP_AT);
        // A fragment after the first has no ports.
        let _ = self.branch(JUMP_ANY_BIT, FRAGMENT_OFFSET, no, header);
        let fragment = self.push(LOAD_HALF, IP_FRAGMENT_AT);
        let transport = self.any_of(LOAD_BYTE, IP_PROTOCOL_AT, transports, fragment, no);
        self.carries(IP, transport, no_ip)
    }

    fn ip6_port(&mut self, transports: &[u8], side: Side, ports: (u32, u32), yes: Label, no: Label) -> Label {
        let at = [IP6_PAYLOAD_AT, IP6_PAYLOAD_AT + 2];
        let inside = self.sides(at, side, yes, no, |code, at, yes, no| code.within(LOAD_HALF, at, ports, yes, no));
        let transport = self.any_of(LOAD_BYTE, IP6_NEXT_AT, transports, inside, no);
        self.carries(IP6, transport, no)
    }
}

fn ether_type(network: Network) -> u32 {
    match network {
        Network::Ip => IP,
        Network::Ip6 => IP6,
        Network::Arp => ARP,
    }
}
