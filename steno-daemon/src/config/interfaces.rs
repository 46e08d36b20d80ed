//! Which network interfaces there are.

use std::{fs, io};

use super::nearest::nearest;

/// The kernel's table of interfaces, in the network namespace of who reads it (proc_pid_net(5)). sysfs shows those of the
/// namespace that it was mounted in.
const TABLE: &str = "/proc/self/net/dev";

/// The names of the interfaces that this process sees.
pub(super) fn names() -> io::Result<Vec<String>> {
    Ok(parse(&fs::read_to_string(TABLE)?))
}

/// What a message says of an interface that is not among `names`: which may be meant, and which there are.
pub(super) fn instead(wanted: &str, names: &[String]) -> String {
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let meant = nearest(wanted, &known).map(|name| format!("did you mean {name:?}? ")).unwrap_or_default();
    format!("{meant}this machine has {}", known.join(", "))
}

/// Two lines of headings, and then a line `  NAME: numbers` each.
fn parse(table: &str) -> Vec<String> {
    let lines = table.lines().skip(2);
    lines.filter_map(|line| Some(line.rsplit_once(':')?.0.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_from_the_table() {
        let table = "Inter-|   Receive  | Transmit\n face |bytes packets|bytes\n    lo:  1 2\nvlan:5: 7 8\n";
        assert_eq!(parse(table), ["lo", "vlan:5"]);
        assert!(names().unwrap().iter().any(|name| name == "lo"));
    }

    #[test]
    fn what_was_meant_is_named() {
        let names = ["lo".to_owned(), "eth0".to_owned()];
        assert_eq!(instead("ethO", &names), "did you mean \"eth0\"? this machine has lo, eth0");
        assert_eq!(instead("wlan0", &names), "this machine has lo, eth0");
    }
}
