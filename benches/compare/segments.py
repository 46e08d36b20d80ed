"""Queries over many segments: such as find nothing, and such as find a needle."""
import os
import shutil
import statistics

from host import BIN, drop_caches, quiet
from report import Mark, Row
from sensor import Sensor
from tools import THEIRS
from traffic import frames

NEEDLE, NEEDLE_ADDRESS = "host 203.0.113.77", bytes([203, 0, 113, 77])
NOTHING = "host 203.0.113.78"
FIRST_NAME = 1_700_000_000_000_000
IDLE = ("--fileage_sec=3600", "--filesize_mb=4000")


def with_needle(pcap, path, packets):
    """The first so many packets, and in their midst one of an address of its own."""
    with open(pcap, "rb") as f, open(path, "wb") as out:
        out.write(f.read(24))
        for i, (header, frame) in zip(range(packets), frames(pcap)):
            if i == packets // 2:
                frame = frame[:30] + NEEDLE_ADDRESS + frame[34:]
            out.write(header + frame)


def sealed_by_theirs(bench, pcap, pps):
    """A real segment of stenographer 1.0.1: its packet file, its index, and the native index of the same packets."""
    store = bench.directory / "template"
    shutil.rmtree(store, ignore_errors=True)
    with bench.link() as link:
        process = THEIRS.start(link, store, 256, IDLE)
        link.replay(pcap, f"--pps={pps}")
        bench.pause(1.5)
        THEIRS.end(process, store)
    [packets], [index] = (list((store / sub).iterdir()) for sub in ("PKT0", "IDX0"))
    quiet(BIN / "steno", "index", "build", packets, "-w", store / "native")
    return packets.read_bytes(), index.read_bytes(), (store / "native").read_bytes()


def sparse(path, data):
    """The file with holes where nothing but zeros is."""
    end = len(data.rstrip(b"\0"))
    with open(path, "wb") as f:
        f.write(data[:end])
        f.truncate(len(data))


def lay(directory, named, segment):
    """The segment under each of the names, for both sensors: the packet files are the same inodes."""
    packets, theirs, ours = segment
    for name in named:
        sparse(directory / "1.0.1" / "PKT0" / name, packets)
        os.link(directory / "1.0.1" / "PKT0" / name, directory / "steno" / "PKT0" / name)
        (directory / "1.0.1" / "IDX0" / name).write_bytes(theirs)
        (directory / "steno" / "IDX0" / name).write_bytes(ours)


def names(count):
    return [str(FIRST_NAME + i * 1_000_000) for i in range(count)]


def prepared(bench):
    directory = bench.directory / "many"
    shutil.rmtree(directory, ignore_errors=True)
    for name in ("steno", "1.0.1"):
        for sub in ("PKT0", "IDX0"):
            (directory / name / sub).mkdir(parents=True)
    return directory


def both(bench, directory, measure):
    """`measure` of both sensors over what was laid there."""
    # Only clean pages can be forgotten.
    os.sync()
    with bench.link() as one, bench.link() as other:
        with Sensor("steno", directory / "steno", one, IDLE) as ours, Sensor("1.0.1", directory / "1.0.1", other, IDLE) as theirs:
            measure(ours, theirs)
    shutil.rmtree(directory)


def asked(bench, sensors, cold, figure, times=1):
    """So many `times` the rounds of one request, each sensor in turn, over connections that stand; `figure` makes it, and gives what
    counts."""
    taken = {sensor.name: [] for sensor in sensors}
    for i in range(times * bench.rounds + 1):
        for sensor in sensors:
            connection = sensor.connect()
            if cold:
                drop_caches()
            result = figure(connection)
            connection.close()
            # Once before it counts.
            if i:
                taken[sensor.name].append(result)
    return taken


def many(bench, report):
    """`host` without a hit over thousands of segments of one block."""
    pcap = bench.directory / "block.pcap"
    with_needle(bench.traffic.small(bench.packets), pcap, 500)
    segment = sealed_by_theirs(bench, pcap, 100_000)
    for count in [n // bench.less for n in (5_000, 30_000)]:
        directory = prepared(bench)
        lay(directory, names(count), segment)

        def measure(ours, theirs):
            for sensor in (ours, theirs):
                sensor.settled(NEEDLE, count)
            for state in ("warm", "cold"):
                taken = asked(bench, (ours, theirs), state == "cold", lambda connection: connection.ask(NOTHING)[2] * 1e3)
                report.add("segments", Row(f"`host` without a hit, {count:,} segments of one block, {state}", "ms", taken,
                                           Mark("1.0.1", at_most=0.1)))
        both(bench, directory, measure)


def needle(bench, report):
    """Time to the first packet of a needle in 100 segments of 100 MB, from the disk."""
    packets, count = 170_000, 100 // bench.less
    plain = bench.traffic.imix(packets)
    pcap = bench.directory / "needle.pcap"
    with_needle(plain, pcap, packets)
    directory = prepared(bench)
    named = names(count)
    segment = sealed_by_theirs(bench, plain, 100_000)
    lay(directory, named[: count // 2] + named[count // 2 + 1 :], segment)
    lay(directory, [named[count // 2]], sealed_by_theirs(bench, pcap, 100_000))

    def measure(ours, theirs):
        for sensor in (ours, theirs):
            sensor.settled(NEEDLE, 1)
        # A disk that is shared takes now half, now twice as long, and so do processors to wake; a round takes a fifth of a second.
        taken = asked(bench, (ours, theirs), True, lambda connection: connection.ask(NEEDLE)[1] * 1e3, times=30)
        what = f"first packet of a needle in {count} segments of {len(segment[0]) / 1e6:.0f} MB, cold"
        report.add("needle", Row(what, "ms", taken, Mark("1.0.1", at_most=0.2)))
        refused = asked(bench, (ours, theirs), True, lambda connection: connection.refused("no query") * 1e3)
        shown = ", ".join(f"{name} {statistics.median(rounds):.3g} ms" for name, rounds in refused.items())
        report.note("needle", f"A request that is refused, so that nothing is looked up or read: {shown}.")
    both(bench, directory, measure)
