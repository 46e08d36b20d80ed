//! Whether the sections of fragments agree with the conversations, and with those of another index of the same packets.

use crate::{
    ConvNo, ConversationCursor, Direction, FirstFragments, Index, IndexError, LaterFragment, NetworkKind,
    format::SectionId, reader::LaterFragments,
};

/// Checks them against the conversations. An index of version 3.0 has none.
pub(super) fn check_fragments(index: &Index) -> Result<(), IndexError> {
    if !index.has_fragments() {
        return Ok(());
    }
    check_firsts(index)?;
    let (mut cursor, mut laters, mut list, mut all) = (index.cursor(), index.later_fragments(), Vec::new(), 0u64);
    for no in 0..index.conversations() {
        if index.class(cursor.class_of(ConvNo(no))?)?.later_fragments {
            all += check_laters(&mut cursor, &mut laters, ConvNo(no), &mut list)?;
        }
    }
    match all == laters.count() {
        true => Ok(()),
        false => Err(index.section(SectionId::LaterFragmentIds).corrupt("fragments that no conversation has", all)),
    }
}

/// Identifications ascend, and each is of a packet that its conversation may have.
fn check_firsts(index: &Index) -> Result<(), IndexError> {
    let corrupt = |what, at| index.section(SectionId::FirstFragmentIds).corrupt(what, at);
    let (mut cursor, mut firsts, mut before) = (index.cursor(), index.first_fragments(), 0);
    for at in 0..firsts.count() {
        let id = firsts.identification(at)?;
        if id < before || id > u64::from(u32::MAX) {
            return Err(corrupt("identifications do not ascend", at));
        }
        before = id;
        let first = firsts.fragment(at)?;
        let conversation = cursor.conversation(first.conversation)?;
        let side = conversation.side(first.direction);
        let most = identification_max(conversation.class.network);
        if conversation.class.later_fragments || most.is_none_or(|most| id > most) {
            return Err(corrupt("a first fragment of a conversation that has none", at));
        }
        if side.packets == 0 || first.time < side.first || first.time > side.last {
            return Err(corrupt("a first fragment outside of the times of its conversation", at));
        }
    }
    Ok(())
}

/// Checks the fragments of a conversation, and says how many it has.
fn check_laters(
    cursor: &mut ConversationCursor<'_>,
    laters: &mut LaterFragments<'_>,
    no: ConvNo,
    list: &mut Vec<LaterFragment>,
) -> Result<u64, IndexError> {
    let corrupt = |what| IndexError::corrupt("later-fragment-sides", what, no.0);
    let conversation = cursor.conversation(no)?;
    let most = identification_max(conversation.class.network).ok_or_else(|| corrupt("fragments without IP"))?;
    for direction in Direction::BOTH {
        list.clear();
        laters.of(cursor, no, direction, list)?;
        let side = conversation.side(direction);
        let bytes = list.iter().fold(0u64, |sum, later| sum.saturating_add(later.wire_len.into()));
        if bytes != side.bytes {
            return Err(corrupt("bytes that do not add up to those of their conversation"));
        }
        let times = list.iter().map(|later| later.time);
        if let (Some(first), Some(last)) = (times.clone().min(), times.max())
            && (first, last) != (side.first, side.last)
        {
            return Err(corrupt("times at odds with those of their conversation"));
        }
        if list.iter().any(|later| u64::from(later.identification) > most) {
            return Err(corrupt("an identification that is too large"));
        }
    }
    Ok(conversation.packets())
}

/// The highest identification; `None` without IP.
fn identification_max(network: NetworkKind) -> Option<u64> {
    match network {
        NetworkKind::None { .. } => None,
        NetworkKind::V4 => Some(u64::from(u16::MAX)),
        NetworkKind::V6 => Some(u64::from(u32::MAX)),
    }
}

/// What differs between the fragments of two indexes that have the same conversations; of one of version 3.0 nothing
/// does.
pub(super) fn difference(packets: &Index, index: &Index) -> Result<Option<&'static str>, IndexError> {
    if !index.has_fragments() {
        return Ok(None);
    }
    let (mut theirs, mut ours) = (packets.first_fragments(), index.first_fragments());
    if !same_firsts(&mut theirs, &mut ours)? {
        return Ok(Some("first fragments"));
    }
    let (mut their_cursor, mut our_cursor) = (packets.cursor(), index.cursor());
    let (mut theirs, mut ours) = (packets.later_fragments(), index.later_fragments());
    let (mut their_list, mut our_list) = (Vec::new(), Vec::new());
    for no in (0..packets.conversations()).map(ConvNo) {
        if !packets.class(their_cursor.class_of(no)?)?.later_fragments {
            continue;
        }
        for direction in Direction::BOTH {
            their_list.clear();
            our_list.clear();
            theirs.of(&mut their_cursor, no, direction, &mut their_list)?;
            ours.of(&mut our_cursor, no, direction, &mut our_list)?;
            if their_list != our_list {
                return Ok(Some("later fragments"));
            }
        }
    }
    Ok(None)
}

fn same_firsts(theirs: &mut FirstFragments<'_>, ours: &mut FirstFragments<'_>) -> Result<bool, IndexError> {
    if theirs.count() != ours.count() {
        return Ok(false);
    }
    for at in 0..theirs.count() {
        let identifications = (theirs.identification(at)?, ours.identification(at)?);
        if identifications.0 != identifications.1 || theirs.fragment(at)? != ours.fragment(at)? {
            return Ok(false);
        }
    }
    Ok(true)
}
