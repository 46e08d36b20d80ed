"""What reaches the disk: sealed bytes a second of a capture that gets more than the disk takes, beside fio."""
import json
import os
import shutil
import statistics
import time

from host import run
from report import Mark, Row
from tools import OURS, THEIRS
from traffic import LARGE

RING_MB, DEPTH, SECONDS = 512, 128, 5
FLAGS = (f"--aiops={DEPTH}", "--filesize_mb=2000", "--fileage_sec=600")


def captured(tool, bench, link, pcap):
    """MB/s from the first packet until all is sealed, the bytes, and MB/s that were sent"""
    store = bench.directory / "disk"
    process = tool.start(link, store, RING_MB, FLAGS)
    begun = time.monotonic()
    sent, seconds = link.sent(pcap, "--topspeed", "--loop=0", f"--duration={SECONDS // bench.less or 1}")
    tool.end(process, store)
    took = time.monotonic() - begun
    size = sum(f.stat().st_blocks * 512 for f in (store / "PKT0").iterdir() if not f.name.startswith("."))
    shutil.rmtree(store)
    return size / took / 1e6, size, sent * LARGE / seconds / 1e6


def by_fio(bench, size):
    """MB/s of fio with the same block size and depth, its file growing as theirs do"""
    out = bench.directory / "fio"
    told = run("fio", "--name=steno", f"--filename={out}", "--rw=write", "--bs=1M", f"--iodepth={DEPTH}", "--direct=1",
               "--ioengine=io_uring", f"--size={size >> 20}M", "--fallocate=none", "--end_fsync=1", "--output-format=json",
               capture_output=True, text=True).stdout
    os.unlink(out)
    return json.loads(told[told.index("{"):])["jobs"][0]["write"]["bw_bytes"] / 1e6


def disk(bench, report):
    """Sealed bytes a second of a capture that gets more than the disk takes, beside fio's direct writes."""
    pcap = bench.traffic.large(2_000)
    taken, sent = {"steno": [], "fio": [], "1.0.1": []}, []
    with bench.link() as link:
        for _ in range(bench.rounds):
            rate, size, came = captured(OURS, bench, link, pcap)
            taken["steno"].append(rate)
            sent.append(came)
            taken["fio"].append(by_fio(bench, size))
            taken["1.0.1"].append(captured(THEIRS, bench, link, pcap)[0])
    report.add("disk", Row(f"direct writes that are sealed, blocks of 1 MiB, {DEPTH} at a time", "MB/s", taken,
                           Mark("fio", at_least=0.9)))
    report.note("disk", f"Sent meanwhile, MB/s: {statistics.median(sent):,.0f}.")
