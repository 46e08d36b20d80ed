"""What an audit log costs: bulk answers, and small ones one after the other, with it and without."""
import statistics
import time

from report import Mark, Row
from sensor import Sensor, timed

SMALL = 200


def audit(bench, report):
    """Answers with an audit log and without: one that is large, and many that are small."""
    packets = 400_000 // bench.less
    pcap = bench.traffic.tcp(packets)
    with bench.link() as one, bench.link() as other:
        log = {"Audit": str(bench.directory / "with" / "audit.log")}
        with Sensor("steno", bench.directory / "with", one, more=log) as kept, Sensor("steno", bench.directory / "without", other) as none:
            sensors = {"with": kept, "without": none}
            for sensor in sensors.values():
                sensor.link.replay(pcap, "--pps=50000")
            for sensor in sensors.values():
                sensor.settled("tcp", packets)
            large(bench, report, sensors)
            small(bench, report, sensors)


def large(bench, report, sensors):
    """By its own client, from the page cache, into a file."""
    taken = {name: [] for name in sensors}
    for i in range(bench.rounds + 1):
        for name, sensor in sensors.items():
            size, seconds = timed(sensor.client("tcp"), bench.directory / f"{name}.pcap")
            # Once before it counts.
            if i:
                taken[name].append(size / seconds / 1e6)
    what = f"`tcp` ({size / 1e6:.0f} MB), daemon and TLS"
    report.add("audit", Row(what, "MB/s", taken, Mark("without", at_least=0.9)))


def small(bench, report, sensors):
    """Queries that match nothing, over one connection: nothing is read but indexes, so that all else counts most."""
    taken = {name: [] for name in sensors}
    for i in range(bench.rounds + 1):
        for name, sensor in sensors.items():
            connection = sensor.connect()
            begun = time.perf_counter()
            for n in range(SMALL):
                connection.ask(f"host 192.0.2.{n}")
            if i:
                taken[name].append((time.perf_counter() - begun) / SMALL * 1e3)
            connection.close()
    row = Row(f"{SMALL} queries without a hit, one after the other", "ms a query", taken)
    report.add("audit", row)
    more = row.median("with") - row.median("without")
    ratio = statistics.median(a / b for a, b in zip(taken["with"], taken["without"], strict=True))
    report.note("audit", f"A small query waits {more:.2f} ms for the disk: {ratio:.2f} times what it takes without.")
