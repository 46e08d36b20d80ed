"""A whole sensor, ours or 1.0.1's: the daemon with its own stenotype on a link, asked over mutual TLS."""
import contextlib
import json
import os
import pathlib
import resource
import signal
import ssl
import subprocess
import sys
import time

from connection import PCAP_HEADER, Connection
from host import BIN, Process, quiet, until

PORT = 1234
PROGRAMS = {
    "steno": (BIN / "stenographer", BIN / "stenotype", []),
    "1.0.1": ("/usr/sbin/stenographer", "/usr/sbin/stenotype", ["--no_watchdogs"]),
}


class Sensor:
    """One daemon; `PKT0` and `IDX0` of its directory hold its segments, also such as were put there before."""

    def __init__(self, name, directory, link, flags=("--fileage_sec=3",), limits=None, more=None):
        self.name, self.directory, self.link = name, pathlib.Path(directory), link
        self.daemon, stenotype, own = PROGRAMS[name]
        for sub in ("PKT0", "IDX0", "certs"):
            (self.directory / sub).mkdir(parents=True, exist_ok=True)
        self.config = self.directory / "config"
        settings = {
            "Threads": [{"PacketsDirectory": str(self.directory / "PKT0"), "IndexDirectory": str(self.directory / "IDX0"),
                         "DiskFreePercentage": 1, "MaxDirectoryFiles": 200_000}],
            "StenotypePath": str(stenotype), "Interface": "v1", "Host": "127.0.0.1", "Port": PORT,
            "Flags": ["-v", "--blockage_sec=1", "--blocks=256", "--seccomp=none", "--uid=root", "--gid=root", *own, *flags],
            # 1.0.1 keeps so many packet files and indexes open, and dies where it may not; 100,000 is its own default.
            "MaxOpenFiles": min(100_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2),
            "CertPath": str(self.directory / "certs")}
        if name == "steno" and limits:
            settings["Limits"] = limits
        settings |= more or {}
        self.config.write_text(json.dumps(settings))
        self.environment = dict(os.environ, STENOGRAPHER_CONFIG=str(self.config))

    def __enter__(self):
        if self.name == "steno":
            quiet(BIN / "steno", "keys", "init", "--certs", self.directory / "certs")
        else:
            quiet("stenokeys", "root", "root", env=self.environment)
        before = self.link.sockets()
        self.begun = time.perf_counter()
        self.process = Process(self.link.inside(self.daemon, "-config", self.config, "-syslog=false", "-v=1"),
                               self.directory / "log")
        until(f"the daemon of {self.name} captures", lambda: self.link.sockets() > before or self.process.gone(), 300)
        if self.process.gone():
            sys.exit(f"the daemon of {self.name} has ended: {self.process.told()[-500:]}")
        return self

    def __exit__(self, *_):
        children = self.children()
        self.process.end(15)
        for child in children:
            # The real stenotype seals its file and may then never exit.
            for sign in (signal.SIGTERM, signal.SIGKILL):
                if pathlib.Path(f"/proc/{child}").exists():
                    os.kill(child, sign)
                    time.sleep(0.5)

    def children(self):
        """What captures: children of the daemon, or of the process that starts them for it."""
        def of(pid):
            task = pathlib.Path(f"/proc/{pid}/task")
            found = []
            for thread in task.iterdir():
                # One that answers may have ended.
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    found += map(int, (thread / "children").read_text().split())
            return found

        return [last for child in of(self.process.pid) for last in of(child) or [child]]

    def connect(self):
        certs = self.directory / "certs"
        context = ssl.create_default_context(cafile=str(certs / "ca_cert.pem"))
        context.load_cert_chain(certs / "client_cert.pem", certs / "client_key.pem")
        # Debian's stenokeys makes certificates that name no host.
        context.check_hostname = False
        with self.link.entered():
            return Connection(context, ("127.0.0.1", PORT))

    def packets(self, query):
        """how many packets the answer has"""
        return len(list(answer_records(self.answer(query))))

    def answer(self, query):
        """the answer's bytes"""
        own = self.connect()
        try:
            return b"".join(own.answer(query))
        finally:
            own.close()

    def client(self, query):
        """its own client, as it is called: the answer comes to its standard output"""
        if self.name == "steno":
            words = BIN / "steno", "read", query, "--config", self.config, "--format", "pcap", "-w", "-"
        else:
            words = "env", f"STENOGRAPHER_CONFIG={self.config}", "stenocurl", "/query", "-d", query, "--silent", "--fail"
        return self.link.inside(*words)

    def settled(self, query, packets, seconds=120, pause=0.5):
        """Waits until that query finds so many packets: all that was sent is sealed, and the daemon knows of it."""
        def holds():
            try:
                return self.packets(query) == packets
            except OSError:
                return False
        until(f"{self.name} finds {packets} packets of {query}", holds, seconds, pause)


def answer_records(body):
    """each packet's captured bytes, of an answer in pcap"""
    at = PCAP_HEADER
    while at + 16 <= len(body):
        length = int.from_bytes(body[at + 8 : at + 12], "little")
        yield body[at + 16 : at + 16 + length]
        at += 16 + length


def timed(command, out):
    """bytes and seconds of a command that writes into `out`"""
    with open(out, "wb") as f:
        # What an earlier one has left is gone by now.
        begun = time.perf_counter()
        subprocess.run([str(c) for c in command], stdout=f, stderr=subprocess.DEVNULL, check=True)
        seconds = time.perf_counter() - begun
    return os.path.getsize(out), seconds
