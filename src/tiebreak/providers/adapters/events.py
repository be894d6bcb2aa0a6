"""Server-sent events as they arrive (WHATWG HTML §9.2.6), as far as model vendors use them: the data of each event."""


class EventReader:
    """Bytes in, in pieces cut anywhere; the `data` of complete events out.

    Works on bytes, so that a cut inside a UTF-8 sequence does not matter. Memory is bounded by the caller's limit
    on the whole stream; time is linear in it, whatever the size of the pieces.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []  # the unfinished line, in pieces
        self._data: list[bytes] = []  # the data lines of the unfinished event
        self._after_cr = False
        self._first = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of every event that this piece completes."""
        if not chunk:
            return []
        if self._after_cr and chunk.startswith(b"\n"):
            self._after_cr = False
            return self.feed(chunk[1:])  # the second half of a CRLF
        self._after_cr = chunk.endswith(b"\r")
        events: list[bytes] = []
        for part in chunk.splitlines(keepends=True):
            self._line.append(part)
            if part.endswith((b"\n", b"\r")):
                line = b"".join(self._line).rstrip(b"\r\n")
                self._line.clear()
                self._take(line, events)
        return events

    def finish(self) -> list[bytes]:
        """What a stream that ends without its last blank line still holds; a cut line counts only if it is whole."""
        events: list[bytes] = []
        if self._line:
            self._take(b"".join(self._line), events)
            self._line.clear()
        self._take(b"", events)
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
        elif line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        # Comments (keep-alive) and other fields say nothing about the answer.
