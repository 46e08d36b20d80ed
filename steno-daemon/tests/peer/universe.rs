//! All packets of a store, read from the packet files by what `linux/if_packet.h` says and nothing of ours, and answers as sets
//! of them.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use steno_core::packet::{Frame, Network, Tag, decode};

use super::{bench::names, daemon::Whose};

/// A packet that a store holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// Arrival, microseconds since 1970.
    pub(crate) us: u64,
    /// The VLAN that the kernel took out of the frame.
    pub(crate) stripped: Option<u16>,
}

/// What can be asked for, as the packets have it; only to draw queries from, never to judge answers by.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) v4: Vec<Ipv4Addr>,
    pub(crate) v6: Vec<Ipv6Addr>,
    pub(crate) ports: Vec<u16>,
    pub(crate) protocols: Vec<u8>,
    pub(crate) vlans: Vec<u16>,
    pub(crate) mpls: Vec<u32>,
}

/// The packets of a store, in its order, and where to find them by what either daemon shows of them.
pub(crate) struct Universe {
    pub(crate) packets: Vec<Kept>,
    pub(crate) keys: Keys,
    theirs: HashMap<u128, Vec<u32>>,
    ours: HashMap<u128, Vec<u32>>,
}

/// A packet as a packet file has it.
pub(crate) struct Stored {
    pub(crate) ns: u64,
    /// On the wire, without the stripped tag.
    wire_len: u32,
    /// The captured bytes, without the stripped tag.
    pub(crate) frame: Vec<u8>,
    /// Type and content of the stripped tag.
    tag: Option<(u16, u16)>,
}

impl Stored {
    /// The captured bytes with the stripped tag in its place.
    pub(crate) fn restored(&self) -> Vec<u8> {
        let Some((tpid, tci)) = self.tag else { return self.frame.clone() };
        let (addresses, rest) = self.frame.split_at(12);
        [addresses, &tpid.to_be_bytes(), &tci.to_be_bytes(), rest].concat()
    }
}

/// Visits the packets of the published files in `dir`, in the order of the files.
pub(crate) fn each_stored(dir: &Path, visit: &mut dyn FnMut(Stored)) {
    for name in names(dir).into_iter().filter(|name| !name.starts_with('.')) {
        each_of_file(&fs::read(dir.join(name)).unwrap(), visit);
    }
}

fn each_of_file(file: &[u8], visit: &mut dyn FnMut(Stored)) {
    for block in file.chunks(1 << 20) {
        let (packets, mut at) = (u32_at(block, 12), u32_at(block, 16) as usize);
        for _ in 0..packets {
            let header = &block[at..];
            let (captured, status) = (u32_at(header, 12) as usize, u32_at(header, 20));
            let mac = usize::from(u16_at(header, 24));
            // TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID
            let tpid = if status & 0x40 == 0 { 0x8100 } else { u16_at(header, 36) };
            visit(Stored {
                ns: u64::from(u32_at(header, 4)) * 1_000_000_000 + u64::from(u32_at(header, 8)),
                wire_len: u32_at(header, 16),
                frame: header[mac..mac + captured].to_vec(),
                tag: (status & 0x10 != 0).then(|| (tpid, u16_at(header, 32))),
            });
            at += u32_at(header, 0) as usize;
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

/// How many packets the published files hold.
pub(crate) fn count(dir: &Path) -> usize {
    let files =
        names(dir).into_iter().filter(|name| !name.starts_with('.')).map(|name| fs::read(dir.join(name)).unwrap());
    files.map(|file| file.chunks(1 << 20).map(|block| u32_at(block, 12) as usize).sum::<usize>()).sum()
}

/// Stands for a packet's time, lengths and bytes, as a capture file of microseconds has them.
fn digest(us: u64, wire_len: u32, frame: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    let _ = hasher.update(&us.to_le_bytes()).update(&wire_len.to_le_bytes()).update(frame);
    u128::from_le_bytes(hasher.finalize().as_bytes()[..16].try_into().unwrap())
}

impl Universe {
    /// Of the published files in `dir`.
    pub(crate) fn read(dir: &Path) -> Self {
        let mut all = Self { packets: Vec::new(), keys: Keys::default(), theirs: HashMap::new(), ours: HashMap::new() };
        let mut drawn = Drawn::default();
        each_stored(dir, &mut |stored| {
            let (number, us) = (u32::try_from(all.packets.len()).unwrap(), stored.ns / 1_000);
            let longer = if stored.tag.is_some() { 4 } else { 0 };
            let restored = stored.restored();
            all.theirs.entry(digest(us, stored.wire_len, &stored.frame)).or_default().push(number);
            all.ours.entry(digest(us, stored.wire_len + longer, &restored)).or_default().push(number);
            all.packets.push(Kept { us, stripped: stored.tag.map(|(_, tci)| tci & 0xfff) });
            drawn.add(&restored);
        });
        all.keys = drawn.keys();
        all
    }

    /// The packets of a capture file: each must be one of the store as that daemon shows it, and none may come twice. The second
    /// is whether they come in the order of their times.
    pub(crate) fn place(&self, whose: Whose, pcap: &[u8]) -> (Vec<u32>, bool) {
        let header = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0];
        assert_eq!(pcap[..24], header);
        let known = match whose {
            Whose::Theirs => &self.theirs,
            Whose::Ours => &self.ours,
        };
        let (mut at, mut latest, mut in_order) = (24, 0, true);
        let mut seen: HashMap<u128, usize> = HashMap::new();
        let mut numbers = Vec::new();
        while at < pcap.len() {
            let us = u64::from(u32_at(pcap, at)) * 1_000_000 + u64::from(u32_at(pcap, at + 4));
            let captured = u32_at(pcap, at + 8) as usize;
            let key = digest(us, u32_at(pcap, at + 12), &pcap[at + 16..at + 16 + captured]);
            at += 16 + captured;
            let times = seen.entry(key).or_default();
            let number = known.get(&key).and_then(|numbers| numbers.get(*times));
            numbers.push(*number.unwrap_or_else(|| panic!("{whose:?}: a packet of {us} us that is not in the store")));
            *times += 1;
            in_order &= latest <= us;
            latest = us;
        }
        numbers.sort_unstable();
        (numbers, in_order)
    }
}

#[derive(Default)]
struct Drawn {
    v4: BTreeSet<Ipv4Addr>,
    v6: BTreeSet<Ipv6Addr>,
    ports: BTreeSet<u16>,
    protocols: BTreeSet<u8>,
    vlans: BTreeSet<u16>,
    mpls: BTreeSet<u32>,
    tags: Vec<Tag>,
}

impl Drawn {
    fn add(&mut self, frame: &[u8]) {
        let decoded = decode(&Frame::new(frame), &mut self.tags);
        match decoded.network {
            Network::V4 { src, dst } => self.v4.extend([src, dst]),
            Network::V6 { src, dst } => self.v6.extend([src, dst]),
            Network::None { .. } => {}
        }
        self.protocols.extend(decoded.protocol);
        self.ports.extend(decoded.ports.into_iter().flat_map(|(src, dst)| [src, dst]));
        for tag in &self.tags {
            match *tag {
                Tag::Vlan(id) => drop(self.vlans.insert(id)),
                Tag::Mpls(label) => drop(self.mpls.insert(label)),
            }
        }
    }

    fn keys(self) -> Keys {
        Keys {
            v4: self.v4.into_iter().collect(),
            v6: self.v6.into_iter().collect(),
            ports: self.ports.into_iter().collect(),
            protocols: self.protocols.into_iter().collect(),
            vlans: self.vlans.into_iter().collect(),
            mpls: self.mpls.into_iter().collect(),
        }
    }
}
