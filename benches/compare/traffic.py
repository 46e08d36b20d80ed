"""The traffic, as capture files: each is made once a run, by the scripts that the project shares, and kept."""
import mmap
import pathlib
import struct
import sys

from host import SHARED, quiet

RECORD = struct.Struct("<IIII")
# 64 bytes on the wire, of which the last four are the checksum of the frame, which is not captured.
SMALL = 60
SMALLEST = 42
LARGE = 60_000


class Traffic:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)

    def _made(self, name, make):
        path = self.directory / f"{name}.pcap"
        if not path.exists():
            hidden = path.with_suffix(".part")
            make(hidden)
            hidden.rename(path)
        return path

    def imix(self, packets, seed=11):
        """Flows of heavy-tailed sizes, both directions; packets of the sizes that links carry."""
        return self._made(f"imix{packets}s{seed}", lambda out: quiet(sys.executable, SHARED / "peer" / "traffic.py", packets, out, seed))

    def worst(self, packets):
        """Every packet a conversation of its own."""
        return self._made(f"worst{packets}", lambda out: quiet(sys.executable, SHARED / "peer" / "traffic.py", packets, out, 7, 1))

    def amplified(self, packets):
        """A real mixture of protocols, amplified."""
        corpus = SHARED / "corpus"
        make = lambda out: quiet(sys.executable, corpus / "amplify.py", corpus / "mixed.pcap", "-o", out, "-n", packets)
        return self._made(f"amplified{packets}", make)

    def small(self, packets):
        """The flows of `imix`, every packet of 64 bytes."""
        return self._made(f"small{packets}", lambda out: cut(self.imix(packets), out, SMALL))

    def smallest(self, packets):
        """The same, each packet cut behind the ports: a packet file of 4 GiB holds 32 million of them."""
        return self._made(f"smallest{packets}", lambda out: cut(self.imix(packets), out, SMALLEST))

    def small_worst(self, packets):
        return self._made(f"smallworst{packets}", lambda out: cut(self.worst(packets), out, SMALL))

    def large(self, packets):
        """The flows of `imix`, every packet of 60,000 bytes: for disks, which a generator of small packets does not fill."""
        return self._made(f"large{packets}", lambda out: cut(self.imix(packets), out, LARGE))

    def tcp(self, packets, seed=13):
        """So many packets of TCP, and what other ones come among them."""
        # A quarter of what the script makes is UDP.
        return self._made(f"tcp{packets}", lambda out: until_tcp(self.imix(packets * 2, seed), out, packets))


def frames(path):
    """(header, frame) of each packet of a pcap file"""
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
        at, end = 24, len(m)
        while at + 16 <= end:
            length = RECORD.unpack_from(m, at)[2]
            yield m[at : at + 16], m[at + 16 : at + 16 + length]
            at += 16 + length


def cut(traffic, path, size):
    """The same packets, each of so many bytes; the length in the IP header says so."""
    length = (size - 14).to_bytes(2, "big")
    with open(traffic, "rb") as f, open(path, "wb") as out:
        out.write(f.read(24))
        for header, frame in frames(traffic):
            seconds, micros, _, _ = RECORD.unpack(header)
            out.write(RECORD.pack(seconds, micros, size, size))
            frame = frame[:16] + length + frame[18:size]
            out.write(frame + bytes(size - len(frame)))


def until_tcp(traffic, path, packets):
    with open(traffic, "rb") as f, open(path, "wb") as out:
        out.write(f.read(24))
        for header, frame in frames(traffic):
            out.write(header + frame)
            packets -= frame[23] == 6
            if not packets:
                return
    raise ValueError(f"{packets} packets of TCP too few")


def records(path):
    """how many packets a pcap file holds, and how many bytes were captured of them"""
    count, captured = 0, 0
    with open(path, "rb") as f:
        magic = f.read(24)[:4]
        assert magic in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"), f"{path}: no pcap file"
        if path.stat().st_size == 24:
            return 0, 0
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
            at, end = 24, len(m)
            while at + 16 <= end:
                length = RECORD.unpack_from(m, at)[2]
                count, captured, at = count + 1, captured + length, at + 16 + length
    return count, captured
