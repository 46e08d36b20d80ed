//! The packets of each conversation, in order: a counting sort, then one column of distances.

use std::io::Write;

use super::{forget, group::Totals, output::Output};
use crate::{IndexError, Pause, column::ColumnWriter, format::SectionId, pause::PIECE};

#[derive(Debug)]
pub(super) struct Lists {
    /// For each conversation where its forward and its reverse packets go next in `packets`.
    places: Vec<[u32; 2]>,
    /// Packet numbers: conversation after conversation, forward before reverse, ascending.
    packets: Vec<u32>,
    pause: Pause,
}

impl Lists {
    pub(super) fn new(pause: Pause) -> Self {
        Self { places: Vec::new(), packets: Vec::new(), pause }
    }

    /// Sorts packets by conversation and direction. `sides` says both for each packet, as
    /// [`super::group::Groups::sides`].
    pub(super) fn sort(&mut self, totals: &[Totals], sides: &[u32]) {
        forget(&mut self.places);
        let mut next = 0;
        self.places.extend(totals.iter().map(|totals| {
            let forward = next;
            let reverse = forward + totals.forward.packets;
            next = reverse + totals.reverse.packets;
            [forward, reverse]
        }));
        forget(&mut self.packets);
        self.packets.resize(sides.len(), 0);
        let mut numbers = 0..;
        for sides in sides.chunks(PIECE) {
            self.pause.take();
            for (side, no) in sides.iter().zip(&mut numbers) {
                let conversation = self.places.get_mut((side >> 1) as usize);
                let Some(place) = conversation.and_then(|places| places.get_mut((side & 1) as usize)) else { continue };
                if let Some(packet) = self.packets.get_mut(*place as usize) {
                    *packet = no;
                }
                *place += 1;
            }
        }
    }

    /// Conversation after conversation: its forward and its reverse packets.
    pub(super) fn iter<'a>(&'a self, totals: &'a [Totals]) -> impl Iterator<Item = (&'a [u32], &'a [u32])> {
        let mut rest = &self.packets[..];
        totals.iter().map(move |totals| {
            let forward = take(&mut rest, totals.forward.packets);
            (forward, take(&mut rest, totals.reverse.packets))
        })
    }

    /// Writes the packet lists, but for the first packets.
    pub(super) fn write<W: Write>(
        &self,
        totals: &[Totals],
        output: &mut Output<'_, W>,
        column: &mut ColumnWriter,
    ) -> Result<(), IndexError> {
        column.begin(1);
        for (forward, reverse) in self.iter(totals) {
            let Some((&first, forward)) = forward.split_first() else { continue };
            for list in [forward, reverse] {
                let mut before = first;
                for &packet in list {
                    column.push(u64::from(packet - before - 1));
                    before = packet;
                }
            }
        }
        output.column(SectionId::PacketLists, column)
    }
}

/// Takes `count` items off the front of `rest`.
fn take<'a>(rest: &mut &'a [u32], count: u32) -> &'a [u32] {
    rest.split_off(..count as usize).unwrap_or_default()
}
