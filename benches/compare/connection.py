"""Questions to a daemon by HTTP/1.1 over one TLS connection. What the client does is measured, too, so that it does no more than
it must: a request goes in one piece, and of the head of an answer only what tells where the body ends is read."""
import socket
import time

PCAP_HEADER = 24


class Connection:
    """A connection that is there before the clock runs."""

    def __init__(self, context, address):
        plain = socket.create_connection(address, 300)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls, self.had = context.wrap_socket(plain), b""

    def close(self):
        self.tls.close()

    def answer(self, query):
        """the pieces of an answer's body, as they come; an OSError where there is none"""
        body = query.encode()
        self.tls.sendall(b"POST /query HTTP/1.1\r\nHost: sensor\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        status, head = self._line(), {}
        while line := self._line():
            name, value = line.split(b":", 1)
            head[name.lower()] = value.strip()
        if status.split()[1] != b"200":
            raise OSError(status.decode())
        if head.get(b"transfer-encoding") != b"chunked":
            yield from self._bytes(int(head[b"content-length"]))
            return
        while size := int(self._line(), 16):
            yield from self._bytes(size)
            self._line()
        while self._line():
            pass

    def ask(self, query):
        """An answer's bytes of pcap, and the seconds to its first packet (or its end) and to its end."""
        size, first = 0, None
        begun = time.perf_counter()
        for piece in self.answer(query):
            size += len(piece)
            if first is None and size > PCAP_HEADER:
                first = time.perf_counter() - begun
        end = time.perf_counter() - begun
        return size, first or end, end

    def refused(self, query):
        """The seconds until a request is refused, of which nothing is looked up."""
        begun = time.perf_counter()
        try:
            list(self.answer(query))
        except OSError:
            return time.perf_counter() - begun
        raise AssertionError(f"{query}: not refused")

    def _more(self):
        got = self.tls.recv(1 << 20)
        if not got:
            raise ConnectionError("closed in the midst of an answer")
        self.had += got

    def _line(self):
        while (end := self.had.find(b"\r\n")) < 0:
            self._more()
        line, self.had = self.had[:end], self.had[end + 2 :]
        return line

    def _bytes(self, count):
        while count:
            if not self.had:
                self._more()
            piece, self.had = self.had[:count], self.had[count:]
            count -= len(piece)
            yield piece
