//! What a capture knows about itself, and how an index stores it (`docs/format/index.md` section 5).

use steno_core::{BLOCK_BYTES, TimestampNs};

use crate::{
    Cause, ClockStep, Drops, Gap, IndexError, Loss,
    format::MINOR_WITH_LOSSES,
    le::{array, u16_at, u32_at, u64_at},
};

/// LINKTYPE_ETHERNET of pcap.
const LINK_TYPE_ETHERNET: u16 = 1;
/// What tcpdump calls "no limit", and 1.0.1's kernel ring gives.
const SNAPLEN: u32 = 262_144;

/// The circumstances of a capture. A text that is empty was not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The interface, or the file that was imported.
    pub interface: String,
    /// LINKTYPE_ value of pcap; 1 is Ethernet.
    pub link_type: u16,
    /// The most bytes that were kept of a packet.
    pub snaplen: u32,
    /// The filter in force.
    pub filter: String,
    /// The host's name.
    pub host: String,
    /// The kernel, as uname(1) names it.
    pub kernel: String,
    /// The program that captured, with its version.
    pub software: String,
    /// The number of the capture thread.
    pub thread: u32,
    /// Bytes of a block of the packet file.
    pub block_bytes: u32,
    /// Packets that the kernel dropped, by second.
    pub drops: Vec<Drops>,
    /// Times in which nothing was captured.
    pub gaps: Vec<Gap>,
    /// What else was lost, by second and cause.
    pub losses: Vec<Loss>,
    /// When the clock was set.
    pub clock_steps: Vec<ClockStep>,
    /// Until when was captured, where the capture ended with this segment, in order.
    pub ended: Option<TimestampNs>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            interface: String::new(),
            link_type: LINK_TYPE_ETHERNET,
            snaplen: SNAPLEN,
            filter: String::new(),
            host: String::new(),
            kernel: String::new(),
            software: String::new(),
            thread: 0,
            block_bytes: BLOCK_BYTES,
            drops: Vec::new(),
            gaps: Vec::new(),
            losses: Vec::new(),
            clock_steps: Vec::new(),
            ended: None,
        }
    }
}

mod tag {
    pub(super) const INTERFACE: u16 = 1;
    pub(super) const LINK_TYPE: u16 = 2;
    pub(super) const SNAPLEN: u16 = 3;
    pub(super) const FILTER: u16 = 4;
    pub(super) const HOST: u16 = 5;
    pub(super) const KERNEL: u16 = 6;
    pub(super) const SOFTWARE: u16 = 7;
    pub(super) const THREAD: u16 = 8;
    pub(super) const BLOCK_BYTES: u16 = 9;
    pub(super) const DROPS: u16 = 10;
    pub(super) const GAP: u16 = 11;
    // Since version 3.1.
    pub(super) const LOSSES: u16 = 12;
    pub(super) const CLOCK_STEP: u16 = 13;
    pub(super) const ENDED: u16 = 14;
}

impl Facts {
    /// Packets that the kernel dropped from `from` to before `until`, as far as whole seconds tell.
    pub fn dropped_between(&self, from: TimestampNs, until: TimestampNs) -> u64 {
        let seconds = from.secs()..=until.secs();
        self.drops.iter().filter(|d| seconds.contains(&d.second)).fold(0, |sum, d| sum.saturating_add(d.packets))
    }

    /// The lowest minor version, of the oldest major one, that has all of the tags.
    pub(crate) fn format_minor(&self) -> u16 {
        let all_are_old = self.losses.is_empty() && self.clock_steps.is_empty() && self.ended.is_none();
        if all_are_old { 0 } else { MINOR_WITH_LOSSES }
    }

    /// The bytes of a facts section (`docs/format/index.md` section 5), and how many tags it has.
    ///
    /// # Errors
    /// [`IndexError::TooLarge`]: a text or a list of more than 4 GiB.
    pub fn encode(&self) -> Result<(Vec<u8>, u64), IndexError> {
        let mut out = Vec::new();
        let mut count = 0;
        let mut put = |tag: u16, value: &[u8]| -> Result<(), IndexError> {
            let (got, most) = (value.len() as u64, u64::from(u32::MAX));
            let len = u32::try_from(got).map_err(|_| IndexError::TooLarge { what: "bytes of a fact", got, most })?;
            out.extend_from_slice(&tag.to_le_bytes());
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(value);
            count += 1;
            Ok(())
        };
        for (tag, text) in [
            (tag::INTERFACE, &self.interface),
            (tag::FILTER, &self.filter),
            (tag::HOST, &self.host),
            (tag::KERNEL, &self.kernel),
            (tag::SOFTWARE, &self.software),
        ] {
            if !text.is_empty() {
                put(tag, text.as_bytes())?;
            }
        }
        put(tag::LINK_TYPE, &self.link_type.to_le_bytes())?;
        put(tag::SNAPLEN, &self.snaplen.to_le_bytes())?;
        put(tag::THREAD, &self.thread.to_le_bytes())?;
        put(tag::BLOCK_BYTES, &self.block_bytes.to_le_bytes())?;
        if !self.drops.is_empty() {
            let pairs = self.drops.iter().flat_map(|d| [d.second.to_le_bytes(), d.packets.to_le_bytes()]);
            put(tag::DROPS, &pairs.flatten().collect::<Vec<u8>>())?;
        }
        for gap in &self.gaps {
            let value = [&gap.from.as_ns().to_le_bytes()[..], &gap.to.as_ns().to_le_bytes(), gap.reason.as_bytes()];
            put(tag::GAP, &value.concat())?;
        }
        if !self.losses.is_empty() {
            let records = self.losses.iter().flat_map(|loss| {
                let cause = u64::from(loss.cause.number());
                [loss.second.to_le_bytes(), cause.to_le_bytes(), loss.count.to_le_bytes()]
            });
            put(tag::LOSSES, &records.flatten().collect::<Vec<u8>>())?;
        }
        for step in &self.clock_steps {
            put(tag::CLOCK_STEP, &[step.from.as_ns().to_le_bytes(), step.to.as_ns().to_le_bytes()].concat())?;
        }
        if let Some(ended) = self.ended {
            put(tag::ENDED, &ended.as_ns().to_le_bytes())?;
        }
        Ok((out, count))
    }

    /// Reads a facts section of `count` tags. Tags that are not known are passed over, and so are causes of losses.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where it does not read as such.
    pub fn decode(mut bytes: &[u8], count: u64) -> Result<Self, IndexError> {
        let mut facts = Self::default();
        for i in 0..count {
            let corrupt = |what| IndexError::corrupt("facts", what, i);
            let head: [u8; 8] = array(bytes, 0).ok_or_else(|| corrupt("the section ends within a tag"))?;
            let len = u32_at(&head, 4).unwrap_or_default() as usize;
            let end = len.checked_add(head.len()).filter(|&end| end <= bytes.len());
            let (record, rest) = bytes.split_at(end.ok_or_else(|| corrupt("the section ends within a value"))?);
            let value = record.get(head.len()..).unwrap_or_default();
            facts
                .set(u16_at(&head, 0).unwrap_or_default(), value)
                .ok_or_else(|| corrupt("a value of the wrong form"))?;
            bytes = rest;
        }
        if bytes.is_empty() { Ok(facts) } else { Err(IndexError::corrupt("facts", "bytes behind the last tag", count)) }
    }

    /// `None` where `value` is not of the form that its tag asks for.
    fn set(&mut self, tag: u16, value: &[u8]) -> Option<()> {
        let text = || std::str::from_utf8(value).ok().map(str::to_owned);
        let number = || u32_at(value, 0).filter(|_| value.len() == 4);
        let time = |at: usize| u64_at(value, at).map(TimestampNs::new);
        match tag {
            tag::INTERFACE => self.interface = text()?,
            tag::FILTER => self.filter = text()?,
            tag::HOST => self.host = text()?,
            tag::KERNEL => self.kernel = text()?,
            tag::SOFTWARE => self.software = text()?,
            tag::LINK_TYPE => self.link_type = u16_at(value, 0).filter(|_| value.len() == 2)?,
            tag::SNAPLEN => self.snaplen = number()?,
            tag::THREAD => self.thread = number()?,
            tag::BLOCK_BYTES => self.block_bytes = number()?,
            tag::DROPS => {
                let (pairs, rest) = value.as_chunks::<16>();
                let drops = pairs.iter().filter_map(|p| Some(Drops { second: u64_at(p, 0)?, packets: u64_at(p, 8)? }));
                self.drops = drops.collect();
                return rest.is_empty().then_some(());
            }
            tag::GAP => {
                let (from, to) = (time(0)?, time(8)?);
                let reason = std::str::from_utf8(value.get(16..)?).ok()?.to_owned();
                self.gaps.push(Gap { from, to, reason });
            }
            tag::LOSSES => {
                let (records, rest) = value.as_chunks::<24>();
                let loss = |r: &[u8; 24]| {
                    Some(Loss { second: u64_at(r, 0)?, cause: Cause::of_number(u32_at(r, 8)?)?, count: u64_at(r, 16)? })
                };
                self.losses = records.iter().filter_map(loss).collect();
                return rest.is_empty().then_some(());
            }
            tag::CLOCK_STEP => {
                let (from, to) = (time(0)?, time(8)?);
                self.clock_steps.push(ClockStep { from, to });
                return (value.len() == 16).then_some(());
            }
            tag::ENDED => self.ended = Some(time(0).filter(|_| value.len() == 8)?),
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Facts {
        Facts {
            interface: "eth0".to_owned(),
            filter: "tcp".to_owned(),
            kernel: "Linux 6.18".to_owned(),
            thread: 3,
            drops: vec![Drops { second: 5, packets: 10 }, Drops { second: 7, packets: 1 }],
            gaps: vec![Gap { from: TimestampNs::new(1), to: TimestampNs::new(9), reason: "restart".to_owned() }],
            losses: Cause::ALL.map(|cause| Loss { second: 5, cause, count: 2 }).to_vec(),
            clock_steps: vec![
                ClockStep { from: TimestampNs::new(7), to: TimestampNs::new(3) },
                ClockStep { from: TimestampNs::new(4), to: TimestampNs::MAX },
            ],
            ended: Some(TimestampNs::new(11)),
            ..Facts::default()
        }
    }

    #[test]
    fn facts_round_trip() {
        for facts in [Facts::default(), sample()] {
            let (bytes, count) = facts.encode().unwrap();
            assert_eq!(Facts::decode(&bytes, count).unwrap(), facts);
        }
    }

    #[test]
    fn a_file_that_an_older_version_knows_all_of_says_so() {
        let old = Facts { losses: Vec::new(), clock_steps: Vec::new(), ended: None, ..sample() };
        assert_eq!((old.format_minor(), sample().format_minor()), (0, 1));
        let newer = [
            Facts { losses: sample().losses, ..Facts::default() },
            Facts { clock_steps: sample().clock_steps, ..Facts::default() },
            Facts { ended: sample().ended, ..Facts::default() },
        ];
        assert!(newer.iter().all(|facts| facts.format_minor() == 1));
    }

    #[test]
    fn causes_that_are_not_known_are_passed_over() {
        let record = |cause: u64| [1u64.to_le_bytes(), cause.to_le_bytes(), 3u64.to_le_bytes()].concat();
        let value = [record(1), record(999), record(7)].concat();
        let bytes = [&[12, 0, 0, 0, 72, 0, 0, 0][..], &value].concat();
        let losses = Facts::decode(&bytes, 1).unwrap().losses;
        let expected = [Cause::RingFull, Cause::InterfaceOverrun].map(|cause| Loss { second: 1, cause, count: 3 });
        assert_eq!(losses, expected);
    }

    #[test]
    fn unknown_tags_are_passed_over_and_cut_ones_refused() {
        let (mut bytes, count) = sample().encode().unwrap();
        for len in 0..bytes.len() {
            assert!(Facts::decode(&bytes[..len], count).is_err(), "cut to {len}");
        }
        bytes.extend_from_slice(&[0xff, 0xff, 0, 0, 3, 0, 0, 0, 1, 2, 3]);
        assert_eq!(Facts::decode(&bytes, count + 1).unwrap(), sample());
        assert!(Facts::decode(&bytes, count).is_err(), "bytes that no tag accounts for");
        assert!(Facts::decode(&[1, 0, 0, 0, 1, 0, 0, 0, 0xff], 1).is_err(), "a text that is not UTF-8");
        assert!(Facts::decode(&[2, 0, 0, 0, 1, 0, 0, 0, 1], 1).is_err(), "a link type of one byte");
        for (tag, good) in [(12u8, 24u8), (13, 16), (14, 8)] {
            for len in 0..=25 {
                let mut bytes = vec![tag, 0, 0, 0, len, 0, 0, 0];
                bytes.resize(8 + usize::from(len), 0);
                let is_good = len == good || (tag == 12 && len == 0);
                assert_eq!(Facts::decode(&bytes, 1).is_ok(), is_good, "{len} bytes of tag {tag}");
            }
        }
    }

    #[test]
    fn drops_are_summed_over_whole_seconds() {
        let at = |secs| TimestampNs::from_parts(secs, 0);
        assert_eq!(sample().dropped_between(at(0), at(4)), 0);
        assert_eq!(sample().dropped_between(at(5), at(6)), 10);
        assert_eq!(sample().dropped_between(TimestampNs::MIN, TimestampNs::MAX), 11);
    }
}
