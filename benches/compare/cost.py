"""What capturing costs: CPU a packet, memory, and the bytes and the CPU of indexes."""
import shutil

from report import Mark, Row
from tools import DUMPCAP, NETSNIFF, OURS, TCPDUMP, THEIRS, index_bytes

RING_MB = 256
# One file: its index is written at the end, and counted.
ONE_FILE = ("--fileage_sec=600", "--filesize_mb=4000")


# The kernel tells user time from system time by its ticks, of which a replay into Steno has some fifteen.
REPLAYS = 3


def once(tool, bench, link, pcap, pps, replays=1):
    """Replays into one program: user and system us a packet, the MB that are resident after the first one, index bytes a
    packet, ns a packet of the threads that seal, packets stored."""
    store = bench.directory / "cost"
    process = tool.start(link, store, RING_MB, ONE_FILE)
    before = process.cpu()
    link.replay(pcap, f"--pps={pps}")
    # The last block comes by its timer.
    bench.pause(1.3)
    resident = process.memory()
    for _ in range(replays - 1):
        link.replay(pcap, f"--pps={pps}")
    bench.pause(1.3 if replays > 1 else 0)
    user, system = tool.end(process, store)
    stored = tool.stored(store)
    result = {"user": (user - before[0]) / stored * 1e6, "system": (system - before[1]) / stored * 1e6, "MB": resident / 1e6,
              "index": index_bytes(store) / stored, "seal": process.threads("index") / stored * 1e9, "stored": stored,
              "dropped": tool.dropped_by_its_own_count(process)}
    shutil.rmtree(store)
    return result


def capture(bench, report):
    """CPU a packet and resident memory, beside 1.0.1 and beside those that write no index."""
    packets, pps = bench.packets, 200_000
    tools = [OURS, THEIRS, NETSNIFF, TCPDUMP, DUMPCAP]
    for kind, pcap in (("IMIX", bench.traffic.imix(packets)), ("64-byte", bench.traffic.small(packets))):
        taken = {tool.name: [] for tool in tools}
        with bench.link() as link:
            # User CPU, which ticks tell, is wide of what it is by a tenth in a round, and its mark near.
            for i in range(2 * bench.rounds):
                # No mark is about the last two.
                for tool in tools if i < 2 else tools[:3]:
                    taken[tool.name].append(once(tool, bench, link, pcap, pps, REPLAYS))
        every = lambda of: {name: [of(r) for r in rounds] for name, rounds in taken.items()}
        two = lambda of: {name: rounds for name, rounds in every(of).items() if name in ("steno", "1.0.1")}
        at = f"{kind}, {REPLAYS} times {packets:,} packets at {pps:,}/s"
        report.add("capture", Row(f"user CPU ({at})", "us a packet", every(lambda r: r["user"]), Mark("1.0.1", at_most=0.2)))
        report.add("capture", Row(f"user and system CPU ({at})", "us a packet", every(lambda r: r["user"] + r["system"]),
                                  Mark("1.0.1", at_most=0.5), Mark("netsniff-ng", at_most=2)))
        report.add("capture", Row(f"resident memory, rings of {RING_MB} MiB ({at})", "MB", two(lambda r: r["MB"]),
                                  Mark("1.0.1", at_most=1), digits=4))
        lost = ", ".join(f"{name} {max(REPLAYS * packets - r['stored'] for r in rounds)} ({', '.join({str(r['dropped']) for r in rounds})})"
                         for name, rounds in taken.items())
        report.note("capture", f"Packets not stored, in the worst round, and dropped by the program's own count ({at}): {lost}.")


def index(bench, report):
    """What an index takes, in bytes and in CPU, on traffic that is kind to it and on traffic that is not."""
    packets, rounds = 2_000_000 // bench.less, min(bench.rounds, 2)
    kinds = (("traffic.py", bench.traffic.imix(packets), 0.2), ("amplify.py", bench.traffic.amplified(packets), 0.25),
             ("traffic.py, each a conversation of its own", bench.traffic.worst(packets), 1))
    with bench.link() as link:
        for kind, pcap, mark in kinds:
            taken = {"steno": [], "1.0.1": []}
            for _ in range(rounds):
                for tool in (OURS, THEIRS):
                    taken[tool.name].append(once(tool, bench, link, pcap, 250_000))
            of = f"{packets:,} packets of {kind}"
            report.add("index", Row(f"index of {of}", "bytes a packet",
                                    {name: [r["index"] for r in rounds] for name, rounds in taken.items()},
                                    Mark("1.0.1", at_most=mark)))
            report.add("index", Row(f"CPU of sealing {of}", "ns a packet", {"steno": [r["seal"] for r in taken["steno"]]},
                                    Mark(at_most=100)))
