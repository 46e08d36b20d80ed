"""Bulk answers: through the daemon and TLS, beside 1.0.1's; and from files, beside a plain `cat` of them."""
import subprocess
import time

from host import BIN
from report import Mark, Row
from sensor import Sensor, timed
from traffic import records


def through_a_pipe(command):
    """seconds until everything that the command writes has been read by another program"""
    begun = time.perf_counter()
    with subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writer:
        subprocess.run(["cat"], stdin=writer.stdout, stdout=subprocess.DEVNULL, check=True)
    assert writer.returncode == 0, f"{command}: {writer.returncode}"
    return time.perf_counter() - begun


def bulk(bench, report):
    """400,000 packets by `tcp`: through daemon and TLS beside 1.0.1, and from files beside `cat`."""
    packets = 400_000 // bench.less
    pcap = bench.traffic.tcp(packets)
    with bench.link() as one, bench.link() as other:
        with Sensor("steno", bench.directory / "ours", one) as ours, Sensor("1.0.1", bench.directory / "theirs", other) as theirs:
            for sensor in (ours, theirs):
                sensor.link.replay(pcap, "--pps=50000")
            for sensor in (ours, theirs):
                sensor.settled("tcp", packets)
            daemons(bench, report, (ours, theirs), packets)
        from_files(bench, report, bench.directory / "ours")


def daemons(bench, report, sensors, packets):
    """Each by its own client, from the page cache, into a file."""
    taken = {sensor.name: [] for sensor in sensors}
    for i in range(bench.rounds + 1):
        for sensor in sensors:
            out = bench.directory / f"{sensor.name}.pcap"
            size, seconds = timed(sensor.client("tcp"), out)
            # Once before it counts.
            if i:
                taken[sensor.name].append(size / seconds / 1e6)
    held = [records(bench.directory / f"{sensor.name}.pcap") for sensor in sensors]
    assert held[0] == held[1] and held[0][0] == packets, f"different answers: {held}"
    what = f"`tcp` of {packets:,} packets ({size / 1e6:.0f} MB), daemon and TLS, each by its own client"
    report.add("bulk", Row(what, "MB/s", taken, Mark("1.0.1", at_least=5)))


def from_files(bench, report, store):
    """`steno read --store` and `cat`, both from the page cache, into the same sink."""
    files = sorted((store / "PKT0").iterdir())
    read = [BIN / "steno", "read", "--store", store, "tcp", "--format", "pcap", "-w", "-"]
    cat = ["cat", *files]
    out = bench.directory / "read.pcap"
    stored = sum(f.stat().st_size for f in files)
    size, _ = timed(read, out)
    commands = {"steno": (read, size), "cat": (cat, stored)}
    into = {"a pipe": through_a_pipe, "a file": lambda command: timed(command, out)[1]}
    for sink, measure in into.items():
        taken = {name: [] for name in commands}
        for i in range(bench.rounds + 1):
            for name, (command, moved) in commands.items():
                seconds = measure(command)
                if i:
                    taken[name].append(moved / seconds / 1e6)
        what = f"the same by `steno read --store` ({size / 1e6:.0f} MB) and the packet files by `cat` ({stored / 1e6:.0f} MB), into {sink}"
        report.add("bulk", Row(what, "MB/s", taken, Mark("cat", at_least=0.5)))
