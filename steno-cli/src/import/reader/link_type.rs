//! Link-layer types of capture files (the tcpdump group's LINKTYPE_ list).

use pcap_file::DataLink;

/// LINKTYPE_ETHERNET: the one kind of packet that a packet file holds.
pub const ETHERNET: u16 = 1;

/// The name of a link type as the list has it, without `LINKTYPE_`, and its number: `LINUX_SLL (113)`.
pub fn link_type_name(link_type: u16) -> String {
    match DataLink::from(u32::from(link_type)) {
        DataLink::Unknown(_) => format!("link type {link_type}"),
        known => format!("{known:?} ({link_type})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_and_numbered() {
        assert_eq!(link_type_name(ETHERNET), "ETHERNET (1)");
        assert_eq!(link_type_name(113), "LINUX_SLL (113)");
        assert_eq!(link_type_name(60_000), "link type 60000");
    }
}
