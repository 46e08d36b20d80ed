//! The words of the language, and the nearest one to a word that is none.

use steno_core::packet::ip_protocol;

use super::services;

/// Words that begin a primitive.
pub(super) const PRIMITIVES: &[&str] = &[
    "after",
    "arp",
    "before",
    "between",
    "dst",
    "host",
    "icmp",
    "icmp6",
    "ip",
    "ip6",
    "last",
    "mpls",
    "net",
    "port",
    "portrange",
    "proto",
    "sctp",
    "src",
    "tcp",
    "udp",
    "vlan",
];

/// Words that stand within one, or between two.
const OTHERS: &[&str] = &["ago", "and", "in", "mask", "not", "or"];

/// Words that begin something of the language, or of `pcap-filter(7)`, that this version cannot answer.
pub(super) const NOT_YET: &[&str] = &[
    "bpf",
    "broadcast",
    "community-id",
    "decnet",
    "ether",
    "flow",
    "fddi",
    "gateway",
    "geneve",
    "greater",
    "ifname",
    "inbound",
    "inner",
    "iso",
    "len",
    "less",
    "link",
    "llc",
    "multicast",
    "outbound",
    "outer",
    "ppp",
    "pppoed",
    "pppoes",
    "rarp",
    "slip",
    "tr",
    "vxlan",
    "wlan",
];

/// Whether a word has a meaning somewhere in a query.
pub(super) fn is_known(word: &str) -> bool {
    PRIMITIVES.contains(&word)
        || OTHERS.contains(&word)
        || NOT_YET.contains(&word)
        || services::port(word).is_some()
        || ip_protocol::number(word).is_some()
}

/// Whether a word begins a primitive, one that is supported or one that is not yet.
pub(super) fn begins_primitive(word: &str) -> bool {
    PRIMITIVES.contains(&word) || NOT_YET.contains(&word)
}

/// The most words that are suggested.
const MAX_SUGGESTIONS: usize = 3;
/// No word of the language is longer, and nothing far longer is near one.
const MAX_WORD_CHARS: usize = 24;

/// The candidates nearest to a word by edit distance without regard to case, in their own order; none where all are
/// far.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let word: Vec<char> = word.chars().take(MAX_WORD_CHARS + 1).flat_map(char::to_lowercase).collect();
    let reach = match word.len() {
        0 | 1 => 0,
        2..=4 => 1,
        5..=MAX_WORD_CHARS => 2,
        _ => return Vec::new(),
    };
    let mut best = reach;
    let mut found: Vec<&str> = Vec::new();
    for candidate in candidates {
        let distance = edit_distance(&word, &candidate.chars().collect::<Vec<_>>());
        if distance < best {
            best = distance;
            found.clear();
        }
        if distance == best && !found.contains(&candidate) {
            found.push(candidate);
        }
    }
    found.into_iter().take(MAX_SUGGESTIONS).map(str::to_owned).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string alignment).
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut a_previous = None;
    for (i, &a_char) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(above.len());
        row.push(i + 1);
        let mut b_previous = None;
        for (j, &b_char) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut cost =
                (at(&above, j) + usize::from(a_char != b_char)).min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            if a_previous == Some(b_char) && b_previous == Some(a_char) && j > 0 {
                cost = cost.min(at(&before, j - 1) + 1);
            }
            row.push(cost);
            b_previous = Some(b_char);
        }
        before = std::mem::replace(&mut above, row);
        a_previous = Some(a_char);
    }
    above.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        let distance = |a: &str, b: &str| edit_distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(distance("prot", "port"), 1);
        assert_eq!(distance("prot", "proto"), 1);
        assert_eq!(distance("", "net"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("tpc", "tcp"), 1);
        assert_eq!(distance("host", "host"), 0);
    }

    #[test]
    fn the_nearest_words_are_suggested() {
        assert_eq!(nearest("prot", PRIMITIVES.iter().copied()), ["port", "proto"]);
        assert_eq!(nearest("TCP", PRIMITIVES.iter().copied()), ["tcp"]);
        assert!(nearest("example", PRIMITIVES.iter().copied()).is_empty());
        assert!(nearest("x", PRIMITIVES.iter().copied()).is_empty());
        assert!(nearest(&"p".repeat(60_000), PRIMITIVES.iter().copied()).is_empty());
    }
}
