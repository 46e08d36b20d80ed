//! What people read: packets, one line each, and tables of conversations. No files are read or written here.

mod flows;
mod packet;

pub use flows::{flow_as_csv, flow_as_json, flows_as_table, flows_csv_heading};
pub use packet::packet_line;

/// A number of things: `1 packet`, `2 packets`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A length of time in its two largest units: `3 d 4 h`.
pub(crate) fn duration(secs: u64) -> String {
    let (minutes, hours) = (secs / 60, secs / 3_600);
    match (hours / 24, hours % 24, minutes % 60) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", secs % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// A number of bytes for people: `4.0 KiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1 << 10 {
        return count(number, "byte");
    }
    let tenths_of = |shift: u32| (u128::from(number) * 10) >> shift;
    let units = UNITS.iter().zip((10u32..).step_by(10));
    let mut text = String::new();
    for (unit, shift) in units.take_while(|&(_, shift)| number >> shift > 0) {
        let tenths = tenths_of(shift);
        text = format!("{}.{} {unit}", tenths / 10, tenths % 10);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_duration_has_two_units() {
        for (secs, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3_661, "1 h 1 min"),
            (86_400, "1 d 0 h"),
            (180_000, "2 d 2 h"),
        ] {
            assert_eq!(super::duration(secs), text);
        }
    }

    #[test]
    fn bytes_are_cut_to_a_tenth_of_a_unit() {
        for (number, text) in [
            (1, "1 byte"),
            (1_023, "1023 bytes"),
            (1_024, "1.0 KiB"),
            (1_024 * 1_024 - 1, "1023.9 KiB"),
            (5 << 29, "2.5 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(super::bytes(number), text);
        }
    }
}
