"""Whether queries cost captured packets: what is lost beside sixteen bulk queries, and without them."""
import shutil
import subprocess
import threading

from report import Mark, Row
from sensor import Sensor
from tools import packets_of_blocks

QUERIES, RATE = 16, 100_000


class Askers:
    """So many clients, each of which asks for everything over and over."""

    def __init__(self, sensor, count):
        self.sensor, self.done, self.answers = sensor, threading.Event(), 0
        self.threads = [threading.Thread(target=self.ask) for _ in range(count)]

    def ask(self):
        while not self.done.is_set():
            command = self.sensor.client("tcp")
            client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while client.poll() is None:
                if self.done.wait(0.02):
                    client.terminate()
                    client.wait()
                    return
            self.answers += client.returncode == 0

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()


def lost(bench, name, queries):
    """How many packets a sensor loses while so many queries run, and how many of them are answered."""
    directory, base = bench.directory / "beside", bench.traffic.imix(400_000 // bench.less)
    sent = 0
    with bench.link() as link, Sensor(name, directory, link, ("--fileage_sec=3",)) as sensor:
        link.replay(base, "--pps=50000")
        sent += 400_000 // bench.less
        # 1.0.1 looks for new files every 15 s.
        bench.pause(4 if name == "steno" else 22)
        with Askers(sensor, queries) as askers:
            sent += link.sent(base, f"--pps={RATE}", "--loop=0", "--duration=8")[0]
        bench.pause(1.5)
    stored = sum(map(packets_of_blocks, (directory / "PKT0").iterdir()))
    shutil.rmtree(directory)
    return sent - stored, askers.answers


def beside(bench, report):
    """Packets lost while sixteen bulk queries run, above those lost without."""
    taken, answers = {"steno": [], "1.0.1": []}, {"steno": 0, "1.0.1": 0}
    for _ in range(min(bench.few, 2)):
        for name, more in taken.items():
            without, _ = lost(bench, name, 0)
            during, answered = lost(bench, name, QUERIES)
            more.append(during - without)
            answers[name] += answered
    report.add("beside", Row(f"packets lost beside {QUERIES} bulk queries at {RATE:,} packets/s, above those lost without",
                             "packets", taken, Mark(at_most=0)))
    report.note("beside", f"Bulk queries answered meanwhile: {answers}.")
