"""A network namespace of its own with the veth pair v0 -> v1: what is sent into v0 is captured on v1."""
import contextlib
import ctypes
import os
import re
import subprocess

from host import quiet, run, until

CLONE_NEWNET = 0x40000000
MTU = 65_535


class Link:
    """The namespace, made at entry and removed at exit."""

    made = 0

    def __init__(self):
        Link.made += 1
        self.ns = f"stenobench{os.getpid()}n{Link.made}"

    def __enter__(self):
        run("ip", "netns", "add", self.ns)
        run("ip", "-n", self.ns, "link", "set", "lo", "up")
        run("ip", "-n", self.ns, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        for end in ("v0", "v1"):
            # No neighbour discovery among the packets.
            run(*self.inside("sysctl", "-qw", f"net.ipv6.conf.{end}.disable_ipv6=1"))
            run("ip", "-n", self.ns, "link", "set", end, "up", "mtu", MTU, "arp", "off")
        return self

    def __exit__(self, *_):
        run("ip", "netns", "del", self.ns)

    def inside(self, *args):
        return ["ip", "netns", "exec", self.ns, *map(str, args)]

    def sockets(self):
        """how many packet sockets are bound and get packets"""
        lines = run(*self.inside("cat", "/proc/net/packet"), capture_output=True, text=True).stdout.splitlines()[1:]
        return sum(fields[5] == "1" and fields[4] != "0" for fields in map(str.split, lines))

    def listened(self, before=0):
        """Waits until somebody captures."""
        until("a capture has begun", lambda: self.sockets() > before)

    def replay(self, pcap, *how):
        quiet(*self.inside("tcpreplay", "-i", "v0", "--preload-pcap", *how, pcap))

    def replaying(self, pcap, *how):
        """The same, beside what is done meanwhile."""
        return subprocess.Popen(self.inside("tcpreplay", "-i", "v0", "--preload-pcap", *how, pcap),
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def sent(self, pcap, *how):
        """Replays, and gives how many packets were sent, in how many seconds."""
        told, _ = self.replaying(pcap, *how).communicate()
        packets, seconds = re.search(r"Actual: (\d+) packets .* in ([\d.]+) seconds", told).groups()
        return int(packets), float(seconds)

    @contextlib.contextmanager
    def entered(self):
        """This thread is in the namespace: sockets that it makes stay there."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.ns}") as there:
            if libc.setns(there.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                if libc.setns(home.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
