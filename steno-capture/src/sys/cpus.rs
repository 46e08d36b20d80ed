//! Processors: which ones this process may use, which are near to an interface, and how a thread keeps to one.

use std::{fs, io};

use rustix::{
    system::sysinfo,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// The processors that this process may use, those near to an interface first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cpus(Vec<usize>);

/// The calling thread on one processor; back to all that it had when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeping(CpuSet);

impl Cpus {
    /// Where sysfs tells of no node, none is nearer than another.
    pub(crate) fn near(interface: &str) -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        let near = fs::read_to_string(format!("/sys/class/net/{interface}/device/local_cpulist"));
        let near = near.map(|list| numbers(&list)).unwrap_or_default();
        Ok(Self(order(&allowed, &near)))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The one for thread `number`.
    pub(crate) fn of_thread(&self, number: u16) -> Option<usize> {
        self.0.get(usize::from(number)).copied()
    }
}

impl Keeping {
    /// Moves the calling thread to a processor; memory that it asks for then comes from that one's node.
    pub(crate) fn to(cpu: usize) -> io::Result<Self> {
        let before = sched_getaffinity(None)?;
        keep_to(cpu)?;
        Ok(Self(before))
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        // What was allowed before is allowed again, unless somebody has taken it away meanwhile.
        let _ = sched_setaffinity(None, &self.0);
    }
}

/// Keeps the calling thread to a processor.
pub(crate) fn keep_to(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Bytes of memory that the machine has.
pub(crate) fn memory_bytes() -> u64 {
    let info = sysinfo();
    u64::from(info.mem_unit).saturating_mul(info.totalram)
}

/// What the link carries, in Mbit/s, where the driver says so.
pub(crate) fn link_mbits(interface: &str) -> Option<u64> {
    fs::read_to_string(format!("/sys/class/net/{interface}/speed")).ok()?.trim().parse().ok()
}

/// Those of `allowed`, the near ones first.
fn order(allowed: &[usize], near: &[usize]) -> Vec<usize> {
    let (mut first, last): (Vec<usize>, Vec<usize>) = allowed.iter().partition(|cpu| near.contains(cpu));
    first.extend(last);
    first
}

/// Of a list as `0-3,8,10-11` (cpuset(7), "List format").
fn numbers(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse::<usize>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(numbers("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(numbers("5"), [5]);
        assert!(numbers("\n").is_empty() && numbers("a-b,").is_empty());
    }

    #[test]
    fn processors_near_to_the_card_come_first_and_others_than_those_allowed_not_at_all() {
        assert_eq!(order(&[0, 1, 2, 3], &[2, 3, 4]), [2, 3, 0, 1]);
        assert_eq!(order(&[1, 5], &[]), [1, 5]);
    }

    #[test]
    fn a_thread_keeps_to_a_processor_and_goes_back() {
        let all = Cpus::near("no such interface").unwrap();
        let last = all.of_thread(u16::try_from(all.count() - 1).unwrap()).unwrap();
        {
            let _there = Keeping::to(last).unwrap();
            assert_eq!(Cpus::near("lo").unwrap(), Cpus(vec![last]));
        }
        assert_eq!(Cpus::near("lo").unwrap(), all);
        assert!(memory_bytes() > 1 << 20);
    }
}
