//! What an import leaves out, counted by its reason.

use std::{collections::BTreeMap, fmt};

use super::reader::link_type_name;

/// Packets that a packet file cannot hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Those of other link types than Ethernet, by link type.
    pub link_types: BTreeMap<u16, u64>,
    /// Those larger than a block.
    pub too_large: u64,
    /// Those with a time before 1970, or past the 32 bits of seconds that a packet file has for it.
    pub out_of_time: u64,
}

impl Skipped {
    /// All of them.
    pub fn packets(&self) -> u64 {
        self.link_types.values().sum::<u64>() + self.too_large + self.out_of_time
    }
}

/// A list: `3 are of link type LINUX_SLL (113), 1 is larger than a block of 1 MiB`.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let are = |n: u64| if n == 1 { "is" } else { "are" };
        let mut parts: Vec<String> = Vec::new();
        for (&link_type, &n) in &self.link_types {
            parts.push(format!("{n} {} of link type {} and not Ethernet", are(n), link_type_name(link_type)));
        }
        if self.too_large > 0 {
            parts.push(format!("{} {} larger than a block of 1 MiB holds", self.too_large, are(self.too_large)));
        }
        if self.out_of_time > 0 {
            let n = self.out_of_time;
            parts.push(format!("{n} {} dated before 1970 or after 2106", are(n)));
        }
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told_with_its_number() {
        let skipped = Skipped { link_types: BTreeMap::from([(105, 1), (113, 3)]), too_large: 2, out_of_time: 1 };
        assert_eq!(skipped.packets(), 7);
        assert_eq!(
            skipped.to_string(),
            "1 is of link type IEEE802_11 (105) and not Ethernet, 3 are of link type LINUX_SLL (113) and not Ethernet, \
             2 are larger than a block of 1 MiB holds, 1 is dated before 1970 or after 2106"
        );
        assert_eq!(Skipped::default().packets(), 0);
    }
}
