"""The programs that capture: how each is started, and what it has stored by then."""
import re
import signal
import struct
import time

from host import BIN, Process, run

BLOCK = 1 << 20


class Tool:
    """A program that captures what comes in on v1 into a directory."""

    def __init__(self, name, command, indexes=False, sign=signal.SIGTERM, dropped=r"(?!)"):
        self.name, self.command, self.indexes, self.sign, self.dropped = name, command, indexes, sign, dropped

    def start(self, link, store, ring_mb, options=()):
        store.mkdir()
        for sub in ("PKT0", "IDX0"):
            (store / sub).mkdir()
        before = link.sockets()
        process = Process(link.inside(*self.command(store, ring_mb), *(options if self.indexes else ())), store / "log")
        link.listened(before)
        time.sleep(0.3)
        return process

    def end(self, process, store, seconds=60):
        """Ends it, sealing included; gives user and system seconds of its whole life."""
        # 1.0.1 seals, and then does not end: it is over when it has done nothing for a while.
        idle = Idle(process, store) if self.indexes else None
        return process.end(seconds, self.sign, over=lambda: idle and idle.long_enough())

    def stored(self, store):
        """how many packets are in what it wrote"""
        if self.indexes:
            return sum(map(packets_of_blocks, (store / "PKT0").iterdir()))
        counts = run("capinfos", "-Mc", store / "out", capture_output=True, text=True).stdout
        return int(re.search(r"Number of packets:\s*(\d+)", counts)[1])

    def dropped_by_its_own_count(self, process):
        counts = re.findall(self.dropped, process.told())
        return int(counts[-1]) if counts else None


class Idle:
    """Watches whether a capture process still works: uses CPU, or changes its directories."""

    def __init__(self, process, store):
        self.process, self.store, self.seen, self.since = process, store, None, time.monotonic()

    def long_enough(self, seconds=0.5):
        # Its threads are gone when it has ended.
        self.process.threads("")
        names = [sorted(f.name for f in (self.store / sub).iterdir()) for sub in ("PKT0", "IDX0")]
        if self.seen != (seen := (names, self.process.cpu())):
            self.seen, self.since = seen, time.monotonic()
        return time.monotonic() - self.since > seconds and any(not n.startswith(".") for n in names[1])


def packets_of_blocks(path):
    """how many packets a packet file holds, by the headers of its blocks"""
    count = 0
    with open(path, "rb") as f:
        for at in range(0, path.stat().st_size, BLOCK):
            f.seek(at)
            header = f.read(16)
            if len(header) == 16:
                count += struct.unpack_from("<I", header, 12)[0]
    return count


def index_bytes(store):
    return sum(f.stat().st_size for f in (store / "IDX0").iterdir() if not f.name.startswith("."))


def _stenotype(binary, *more):
    return lambda store, ring_mb: [
        binary, f"--dir={store}", "--iface=v1", f"--blocks={ring_mb}", "--blockage_sec=1", "--seccomp=none", "--uid=root",
        "--gid=root", "-v", *more]


OURS = Tool("steno", _stenotype(BIN / "stenotype"), True, dropped=r"the kernel dropped (\d+)")
THEIRS = Tool("1.0.1", _stenotype("/usr/sbin/stenotype", "--no_watchdogs", "--stats_sec=1"), True, dropped=r"drops=(\d+)")
NETSNIFF = Tool("netsniff-ng", lambda store, ring_mb: [
    "netsniff-ng", "--in", "v1", "--out", store / "out", "--silent", "--ring-size", f"{ring_mb}MiB"],
    sign=signal.SIGINT, dropped=r"(\d+)\s+packets failed filter \(out of space\)")
TCPDUMP = Tool("tcpdump", lambda store, ring_mb: [
    "tcpdump", "-i", "v1", "-w", store / "out", "-B", ring_mb << 10, "-n", "-Z", "root"],
    sign=signal.SIGINT, dropped=r"(\d+) packets dropped by kernel")
DUMPCAP = Tool("dumpcap", lambda store, ring_mb: [
    "dumpcap", "-q", "-i", "v1", "-w", store / "out", "-B", ring_mb],
    sign=signal.SIGINT, dropped=r"received/dropped on interface 'v1': \d+/(\d+)")
