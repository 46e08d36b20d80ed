"""How long a packet takes from the wire into an answer, on a link that is busy."""
import random
import socket
import statistics
import threading
import time

from report import Mark, Row
from sensor import Sensor, answer_records

MARKED = bytes.fromhex("020000000002 020000000001 0800" "4500 0024 0001 4000 40 11 0000 0a090901 0a090902" "9c41 0007 0010 0000")
QUERY = "udp and port 7 and host 10.9.9.2"


def send_marks(link, numbers, sent):
    """Sends numbered packets at random times, and notes when."""
    with link.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("v0", 0))
        for number in numbers:
            time.sleep(random.uniform(0.005, 0.095))
            sent[number] = time.monotonic()
            wire.send(MARKED + number.to_bytes(8, "big") + bytes(14))


def ages(sensor, numbers):
    """seconds from the wire to the end of the answer that has it, of each of the marked packets, in order"""
    sent, found = {}, {}
    sender = threading.Thread(target=send_marks, args=(sensor.link, numbers, sent))
    sender.start()
    deadline = time.monotonic() + 30 + len(numbers)
    while len(found) < len(numbers) and time.monotonic() < deadline:
        answer = sensor.answer(QUERY)
        now = time.monotonic()
        for frame in answer_records(answer):
            number = int.from_bytes(frame[42:50], "big")
            if number in numbers and number not in found:
                found[number] = now - sent[number]
        time.sleep(0.005)
    sender.join()
    assert len(found) == len(numbers), f"{len(numbers) - len(found)} marked packets were never found"
    return sorted(found.values())


def fresh(bench, report):
    """From the wire into an answer, beside 100,000 packets/s."""
    rate, count = 100_000, 100
    pcap = bench.traffic.imix(bench.packets)
    rounds = []
    with bench.link() as link, Sensor("steno", bench.directory / "fresh", link, ("--fileage_sec=60",)) as sensor:
        for i in range(bench.rounds):
            load = link.replaying(pcap, f"--pps={rate}", "--loop=0", "--duration=60")
            # tcpreplay reads all of it before it sends.
            time.sleep(2)
            rounds.append(ages(sensor, range(i * count, (i + 1) * count)))
            load.terminate()
            load.communicate()
    at = lambda share: [took[(count - 1) * share // 100] for took in rounds]
    report.add("fresh", Row(f"wire to answer beside {rate:,} packets/s, 99th percentile of {count} a round", "s",
                            {"steno": at(99)}, Mark(at_most=1)))
    report.note("fresh", f"Wire to answer: median {statistics.median(at(50)):.3g} s, the longest of all rounds {max(at(100)):.3g} s.")
