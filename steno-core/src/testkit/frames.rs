//! Ethernet frames, layer by layer. Checksums are left zero; nothing here looks at them.

/// A frame in the making: each method appends a layer and fills in the field of the layer before that names it.
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    bytes: Vec<u8>,
    /// Where the field lies that says what comes next.
    next: Next,
    /// Where the last IP header lies, and its version.
    ip: Option<(usize, u8)>,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    /// A type field at this offset.
    EtherType(usize),
    /// A protocol field at this offset.
    Protocol(usize),
    /// An MPLS entry at this offset: its bottom bit.
    Label(usize),
    /// Nothing more is announced.
    Payload,
}

impl FrameBuilder {
    /// An Ethernet header with locally administered addresses.
    pub fn ethernet() -> Self {
        let bytes = b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\xff\xff".to_vec();
        Self { bytes, next: Next::EtherType(12), ip: None }
    }

    /// A VLAN tag.
    #[must_use]
    pub fn tag(mut self, tpid: u16, tci: u16) -> Self {
        self.announce(tpid, 0);
        self.bytes.extend_from_slice(&tci.to_be_bytes());
        self.next = Next::EtherType(self.bytes.len());
        self.bytes.extend_from_slice(&[0xff, 0xff]);
        self
    }

    /// An MPLS label. The stack ends with the layer behind it.
    #[must_use]
    pub fn mpls(mut self, label: u32) -> Self {
        if !matches!(self.next, Next::Label(_)) {
            self.announce(0x8847, 0);
        }
        self.next = Next::Label(self.bytes.len());
        self.bytes.extend_from_slice(&(label << 12 | 64).to_be_bytes());
        self
    }

    /// A control word and the frame `inner`, behind a label.
    #[must_use]
    pub fn pseudowire(mut self, inner: Self) -> Self {
        self.announce(0, 0);
        let shift = self.bytes.len() + 4;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&inner.bytes);
        self.next = match inner.next {
            Next::EtherType(at) => Next::EtherType(at + shift),
            Next::Protocol(at) => Next::Protocol(at + shift),
            Next::Label(at) => Next::Label(at + shift),
            Next::Payload => Next::Payload,
        };
        self.ip = inner.ip.map(|(at, version)| (at + shift, version));
        self
    }

    /// Something that is not IP.
    #[must_use]
    pub fn other(mut self, ether_type: u16, payload: &[u8]) -> Self {
        self.announce(ether_type, 0);
        self.next = Next::Payload;
        self.payload(payload)
    }

    /// An IPv4 header without options.
    #[must_use]
    pub fn ipv4(self, src: [u8; 4], dst: [u8; 4]) -> Self {
        self.ipv4_with_options(src, dst, 0)
    }

    /// An IPv4 header with `options_bytes` (a multiple of 4, at most 40) of no-operation options.
    #[must_use]
    pub fn ipv4_with_options(mut self, src: [u8; 4], dst: [u8; 4], options_bytes: u8) -> Self {
        self.announce(0x0800, 4);
        let at = self.bytes.len();
        self.ip = Some((at, 4));
        self.next = Next::Protocol(at + 9);
        self.bytes.extend_from_slice(&[0x45 + options_bytes / 4, 0, 0, 0, 0, 0, 0, 0, 64, 253, 0, 0]);
        self.bytes.extend_from_slice(&src);
        self.bytes.extend_from_slice(&dst);
        self.bytes.extend(std::iter::repeat_n(1, usize::from(options_bytes)));
        self
    }

    /// An IPv6 header.
    #[must_use]
    pub fn ipv6(mut self, src: [u8; 16], dst: [u8; 16]) -> Self {
        self.announce(0x86dd, 41);
        let at = self.bytes.len();
        self.ip = Some((at, 6));
        self.next = Next::Protocol(at + 6);
        self.bytes.extend_from_slice(&[0x60, 0, 0, 0, 0, 0, 59, 64]);
        self.bytes.extend_from_slice(&src);
        self.bytes.extend_from_slice(&dst);
        self
    }

    /// Makes a fragment of the packet: in the IPv4 header, or as an IPv6 fragment header. `offset` in units of 8 bytes.
    #[must_use]
    pub fn fragment(mut self, identification: u32, offset: u16, more: bool) -> Self {
        match self.ip {
            Some((at, 4)) => {
                let [_, _, id @ ..] = identification.to_be_bytes();
                let field = (offset | u16::from(more) << 13).to_be_bytes();
                self.put(at + 4, &[id, field].concat());
            }
            _ => {
                self.announce(0, 44);
                self.next = Next::Protocol(self.bytes.len());
                self.bytes.extend_from_slice(&[59, 0]);
                self.bytes.extend_from_slice(&(offset << 3 | u16::from(more)).to_be_bytes());
                self.bytes.extend_from_slice(&identification.to_be_bytes());
            }
        }
        self
    }

    /// An IPv6 extension header of `units` times 8 bytes, at least one.
    #[must_use]
    pub fn extension(mut self, header: u8, units: u8) -> Self {
        self.announce(0, header);
        self.next = Next::Protocol(self.bytes.len());
        self.bytes.extend_from_slice(&[59, units.max(1) - 1]);
        self.bytes.extend(std::iter::repeat_n(0, usize::from(units.max(1)) * 8 - 2));
        self
    }

    /// A TCP header without options.
    #[must_use]
    pub fn tcp(self, src: u16, dst: u16) -> Self {
        let mut header = ports(src, dst).to_vec();
        header.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0]);
        self.protocol(6, &header)
    }

    /// A UDP header.
    #[must_use]
    pub fn udp(self, src: u16, dst: u16) -> Self {
        let header = [ports(src, dst), [0, 8, 0, 0]].concat();
        self.protocol(17, &header)
    }

    /// Any IP protocol.
    #[must_use]
    pub fn protocol(mut self, protocol: u8, bytes: &[u8]) -> Self {
        self.announce(0, protocol);
        self.next = Next::Payload;
        self.payload(bytes)
    }

    /// Bytes behind all headers.
    #[must_use]
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The frame, with IP lengths filled in.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = self.clone();
        if let Some((at, version)) = self.ip {
            let header = if version == 4 { 0 } else { 40 };
            let length = u16::try_from(self.bytes.len() - at - header).unwrap_or(u16::MAX).to_be_bytes();
            frame.put(at + if version == 4 { 2 } else { 4 }, &length);
        }
        frame.bytes
    }

    /// Says in the layer before what comes now.
    fn announce(&mut self, ether_type: u16, protocol: u8) {
        match self.next {
            Next::EtherType(at) => self.put(at, &ether_type.to_be_bytes()),
            Next::Protocol(at) => self.put(at, &[protocol]),
            Next::Label(at) => {
                if let Some(byte) = self.bytes.get_mut(at + 2) {
                    *byte |= 1;
                }
            }
            Next::Payload => {}
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}

fn ports(src: u16, dst: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (src.to_be_bytes(), dst.to_be_bytes());
    [a, b, c, d]
}
