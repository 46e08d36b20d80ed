"""Cost against size: segments, packets of a segment, packets that match, queries at a time; and the memory that each takes."""
import collections
import contextlib
import pathlib
import shutil
import statistics
import subprocess
import time

import cost
import segments
from host import BIN, Process, drop_caches, quiet, until
from sensor import Sensor, timed
from tools import OURS
from traffic import frames, records

# 8 MiB each, at most.
LIMITS = {"MaxConcurrentQueries": 64, "MaxQueriesPerClient": 64, "MaxMemory": "512MiB"}


def scale(bench, report):
    """Cost against size, of Steno alone: the tables of docs/SCALE.md."""
    of_segments(bench, report)
    of_packets_and_hits(bench, report)
    of_queries(bench, report)
    of_the_open_log(bench, report)


def middle(measure, rounds=3):
    return statistics.median(measure() for _ in range(rounds))


def resident(sensor):
    """MB of the daemon by now"""
    return sensor.process.memory("VmRSS") / 1e6


def of_segments(bench, report):
    pcap = bench.directory / "block.pcap"
    segments.with_needle(bench.traffic.small(100_000), pcap, 500)
    segment = segments.sealed_by_theirs(bench, pcap, 100_000)
    rows = []
    for count in [n // bench.less for n in (100, 1_000, 3_000, 10_000, 30_000)]:
        directory = segments.prepared(bench)
        segments.lay(directory, segments.names(count), segment)
        begun = []
        with bench.link() as link, Sensor("steno", directory / "steno", link, segments.IDLE) as sensor:
            begun.append(until_answered(sensor))
            sensor.settled(segments.NEEDLE, count)
            connection = sensor.connect()

            def ask(query, cold):
                if cold:
                    drop_caches()
                return connection.ask(query)[2] * 1e3

            nothing = [middle(lambda: ask(segments.NOTHING, cold)) for cold in (False, True)]
            everywhere = middle(lambda: ask(segments.NEEDLE, False))
            most = resident(sensor)
            connection.close()
            until("a catalogue file is written", (directory / "steno" / "IDX0" / ".catalogue").exists)
        with bench.link() as link, Sensor("steno", directory / "steno", link, segments.IDLE) as sensor:
            begun.append(until_answered(sensor))
        rows.append([f"{count:,}", *(f"{s:.2f}" for s in begun), *(f"{ms:.3g}" for ms in nothing), f"{everywhere:.3g}",
                     f"{most:.0f}"])
        shutil.rmtree(directory)
    report.plain("scale of segments", ["segments", "first start to first answer, s", "next start, s", "no hit, warm, ms",
                                       "no hit, cold, ms", "one hit in each, warm, ms", "daemon, MB"], rows,
                 {"ms, no hit, warm": 3, "ms, no hit, cold": 4, "ms, a hit in each": 5, "MB, daemon": 6})


def until_answered(sensor):
    """seconds from the start of a daemon to its first answer, over all that is stored"""
    sensor.settled(segments.NOTHING, 0, pause=0.01)
    return time.perf_counter() - sensor.begun


def address_of(counts, hits):
    """an IPv4 address that has about so many packets, and how many"""
    found = min(counts, key=lambda a: abs(counts[a] - hits))
    return ".".join(map(str, found)), counts[found]


def of_packets_and_hits(bench, report):
    """Stores of more and more packets, each cut to 60 bytes."""
    rows, directory = [], bench.directory / "packets"
    for packets in [n // bench.less for n in (10_000, 100_000, 1_000_000, 10_000_000)]:
        shutil.rmtree(directory, ignore_errors=True)
        plain, pcap = bench.traffic.small(packets), bench.directory / "one.pcap"
        segments.with_needle(plain, pcap, packets)
        quiet(BIN / "steno", "import", pcap, "--store", directory)
        with row_of(bench, directory, packets, rows) as sensor:
            if packets == 10_000_000 // bench.less:
                of_hits(bench, report, sensor, plain, packets)
        plain.unlink()
    shutil.rmtree(directory)
    with row_of(bench, directory, captured(bench, directory, 30_000_000 // bench.less), rows):
        pass
    shutil.rmtree(directory)
    report.plain("scale of packets", ["packets", "segments", "index, bytes a packet", "reading and indexing, ns a packet",
                                      "memory of that, MB a segment", "no hit, ms", "one hit, ms", "daemon, MB"], rows,
                 {"index, bytes a packet": 2, "indexing, ns a packet": 3, "no hit, ms": 5, "one hit, ms": 6})


@contextlib.contextmanager
def row_of(bench, directory, packets, rows):
    """Adds what a store of so many packets costs; the sensor is there meanwhile."""
    packet_files = list((directory / "PKT0").iterdir())
    index = sum((directory / "IDX0" / f.name).stat().st_size for f in packet_files)
    cpu, most = map(sum, zip(*(built(bench, f) for f in packet_files)))
    with bench.link() as link, Sensor("steno", directory, link, segments.IDLE) as sensor:
        sensor.settled(segments.NEEDLE, 1, pause=0.01)
        connection = sensor.connect()
        ask = lambda query: middle(lambda: connection.ask(query)[2] * 1e3, 9)
        rows.append([f"{packets:,}", str(len(packet_files)), f"{index / packets:.2f}", f"{cpu / packets * 1e9:.0f}",
                     f"{most / len(packet_files) / 1e6:.0f}",
                     f"{ask(segments.NOTHING):.3g}", f"{ask(segments.NEEDLE):.3g}", f"{resident(sensor):.0f}"])
        connection.close()
        yield sensor


def captured(bench, directory, packets, loops=30):
    """As many packets in one file as it takes, where `steno import` begins a new one after 4 million; each of 42 bytes, that of no
    loop of an address of another one, and a needle behind them."""
    needle = bench.directory / "needle.pcap"
    plain = bench.traffic.smallest(packets // loops)
    segments.with_needle(plain, needle, 1)
    with bench.link() as link:
        process = OURS.start(link, directory, 256, cost.ONE_FILE)
        link.replay(plain, "--pps=300000", f"--loop={loops}", "--unique-ip")
        link.replay(needle)
        # The last block comes by its timer.
        bench.pause(1.5)
        OURS.end(process, directory, 300)
    stored = OURS.stored(directory)
    assert stored == packets // loops * loops + 1, f"{stored} packets of {packets} and a needle"
    return stored


def built(bench, packet_file):
    """seconds of CPU and bytes of memory that it takes to make the index of a packet file alone"""
    build = Process([BIN / "steno", "index", "build", packet_file, "-w", bench.directory / "built"], bench.directory / "log")
    most = 0
    while not build.gone():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            most = max(most, build.memory())
        time.sleep(0.002)
    assert build.child.returncode == 0, build.told()
    (bench.directory / "built").unlink()
    return build.usage.ru_utime + build.usage.ru_stime, most


def of_hits(bench, report, sensor, pcap, packets):
    counts = collections.Counter(tuple(a) for _, f in frames(pcap) for a in (f[26:30], f[30:34]))
    asked = [(segments.NEEDLE, 1)]
    for hits in (10, 100, 1_000, 10_000, 100_000, 1_000_000):
        address, found = address_of(counts, hits)
        asked.append((f"host {address}", found))
    asked.append(("ip", packets))
    rows = []
    for query, _ in asked:
        out = bench.directory / "hits.pcap"
        seconds = middle(lambda: timed(sensor.client(query), out)[1])
        found, _ = records(out)
        rows.append([f"{found:,}", f"`{query.split()[0]}`", f"{seconds * 1e3:.3g}", f"{seconds / found * 1e9:,.0f}",
                     f"{sensor.process.memory() / 1e6:.0f}"])
        out.unlink()
    report.plain("scale of hits", [f"hits among {packets:,}", "by", "ms, client and all", "ns a hit", "daemon at most, MB"], rows,
                 {"ms": 2, "MB, daemon": 4})


def of_queries(bench, report):
    packets = 400_000 // bench.less
    rows, directory = [], bench.directory / "queries"
    with bench.link() as link, Sensor("steno", directory, link, ("--fileage_sec=3",), LIMITS) as sensor:
        link.replay(bench.traffic.tcp(packets), "--pps=50000")
        sensor.settled("tcp", packets)
        size, _ = timed(sensor.client("tcp"), bench.directory / "one.pcap")
        for count in (1, 2, 4, 8, 16, 32, 64):
            begun = time.perf_counter()
            clients = [subprocess.Popen(sensor.client("tcp"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                       for _ in range(count)]
            most = 0
            while any(client.poll() is None for client in clients):
                most = max(most, sensor.process.memory("VmRSS"))
                time.sleep(0.01)
            seconds = time.perf_counter() - begun
            assert not any(client.returncode for client in clients), [client.returncode for client in clients]
            rows.append([str(count), f"{seconds:.3g}", f"{size * count / seconds / 1e6:,.0f}", f"{most / 1e6:.0f}",
                         f"{sum(map(memory_of, sensor.children())):.0f}"])
    shutil.rmtree(directory)
    report.plain("scale of queries", [f"queries at a time, each of {size / 1e6:.0f} MB", "s until all are answered", "MB/s of all",
                                      "daemon at most, MB", "stenotype, MB"], rows,
                 {"s": 1, "MB/s": 2, "MB, daemon": 3})


def memory_of(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1e3


def of_the_open_log(bench, report):
    """What the packets of the file that is still written take of stenotype's memory, above its ring."""
    rows, store = [], bench.directory / "open"
    with bench.link() as link:
        process = OURS.start(link, store, 64, ("--fileage_sec=600", "--filesize_mb=4000"))
        sent, empty = 0, process.memory("VmRSS")
        for packets in [n // bench.less for n in (10_000, 100_000, 1_000_000, 4_000_000)]:
            link.replay(bench.traffic.small(min(packets, 1_000_000)), "--pps=250000", "--loop=0", f"--limit={packets - sent}")
            sent = packets
            time.sleep(1)
            more = process.memory("VmRSS") - empty
            rows.append([f"{packets:,}", f"{more / 1e6:.1f}", f"{more / packets:.1f}"])
        OURS.end(process, store)
        assert OURS.stored(store) == sent, f"{sent - OURS.stored(store)} packets lost"
    shutil.rmtree(store)
    report.plain("scale of the open log", ["packets of the open file", "stenotype above its empty ring, MB", "bytes a packet"], rows,
                 {"MB": 1, "bytes a packet": 2})
