"""The highest rate at which a capture process loses nothing, held to a share of a core."""
import shutil
import statistics

from host import Share, say
from report import Mark, Row
from tools import NETSNIFF, OURS, TCPDUMP, THEIRS

# So little ring that what it takes in at a rate which cannot be kept up is small beside what is sent.
RING_MB = 16
# So long that the first second, in which memory is had for the first time, is not most of it.
SECONDS = 6
# Indexes are written within the run.
ROTATED = ("--fileage_sec=1", "--aiops=8")
STEP = 1.06
FASTEST = 10_000_000


class Search:
    """Looks for the highest rate of one program: from afar once, then a step up or down in each round."""

    def __init__(self, tool, bench, link, pcap, share):
        self.tool, self.bench, self.link, self.pcap, self.share = tool, bench, link, pcap, share
        self.left = []
        self.rate, self.bound = self.first(), False

    def probe(self, rate):
        """Sends at that rate: the rate that was reached, how many packets were stored a second, and whether all of them were."""
        store = self.bench.directory / "lossless"
        process = self.tool.start(self.link, store, RING_MB, ROTATED)
        self.share.hold(process.pid)
        how = ("--topspeed",) if rate >= FASTEST else (f"--pps={rate:.0f}",)
        sent, seconds = self.link.sent(self.pcap, *how, "--loop=0", f"--duration={SECONDS}")
        held = sum(process.cpu())
        # What is in the ring by now is the same for all.
        self.share.let_go()
        self.bench.pause(2.2)
        whole_cpu = sum(self.tool.end(process, store))
        self.left.append(1 - held / whole_cpu)
        stored, counted = self.tool.stored(store), self.tool.dropped_by_its_own_count(process)
        shutil.rmtree(store)
        say(f"    {self.tool.name}: {sent / seconds:,.0f}/s sent, {sent - stored:,} of {sent:,} not stored, by its own count {counted}")
        return sent / seconds, stored / seconds, stored == sent and not counted

    def first(self):
        reached, stored, whole = self.probe(FASTEST)
        rate = FASTEST if whole else stored
        while not whole:
            reached, stored, whole = self.probe(rate)
            rate = rate if whole else max(stored / STEP, rate / 2)
        return rate

    def round(self):
        """The highest rate without loss by now."""
        reached, _, whole = self.probe(self.rate)
        if whole and self.rate < FASTEST:
            self.rate = reached * STEP
        elif not whole:
            self.rate = reached = reached / STEP
        self.bound |= whole and self.rate >= FASTEST
        return reached


def lossless(bench, report):
    """The highest rate without loss of a capture process that is held to a share of a core."""
    # With 20 % of a core each of them keeps up with all the flows that the generator can send.
    kinds = ((5, "flows of 64-byte packets", bench.traffic.small(bench.packets)),
             (20, "64-byte packets, each a conversation", bench.traffic.small_worst(bench.packets)))
    for percent, kind, pcap in kinds:
        with Share(percent / 100) as share, bench.link() as link:
            searches = [Search(tool, bench, link, pcap, share) for tool in (OURS, THEIRS, NETSNIFF, TCPDUMP)]
            taken = {search.tool.name: [] for search in searches}
            for _ in range(bench.few):
                for search in searches:
                    taken[search.tool.name].append(search.round() / 1e3)
        report.add("lossless", Row(f"highest rate without loss, {percent} % of a core ({share.how}), {kind}",
                                   "1,000 packets/s", taken, Mark("1.0.1", at_least=3), Mark("netsniff-ng", at_least=0.5),
                                   Mark("tcpdump", at_least=0.5)))
        left = ", ".join(f"{search.tool.name} {statistics.median(search.left):.0%}" for search in searches)
        report.note("lossless", f"At {percent} %, {kind}: of its CPU each took so much after the traffic, when nothing held it any more: {left}.")
        if bound := [search.tool.name for search in searches if search.bound]:
            report.note("lossless", f"At {percent} %, {kind}: the generator's highest rate, and not the program, was the bound "
                                    f"for {', '.join(bound)}.")
