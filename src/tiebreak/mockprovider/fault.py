"""What a fault of a models file may say: which calls it takes, and what goes wrong with them.

faults:
  - {status: 429, after_seconds: 60, for_seconds: 30, retry_after: "2"}
  - {body: cut, share: 0.05, chunks: 7}
  - {body: drip, first: 1}
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

Body = Literal[
    "error",
    "html",
    "empty",
    "closed",
    "truncated",
    "cut",
    "reset",
    "blackhole",
    "slow",
    "stall",
    "drip",
    "endless_headers",
    "keep_alive",
    "error_frame",
    "malformed",
    "long_line",
    "split",
    "gzip_bomb",
    "usage",
    "redirect",
    "content_type",
]
Malformation = Literal[
    "unclosed",
    "garbage",
    "nan",
    "nesting",
    "duplicate_keys",
    "wrong_types",
    "list",
    "bom",
    "invalid_utf8",
]
HeaderText = Annotated[str, Meta(pattern=r"^[ -~]{1,100}$")]
Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]

_DEFAULT_STATUS: Mapping[str, int] = {"error": 500, "html": 500, "empty": 500, "truncated": 500, "error_frame": 500, "redirect": 302}  # fmt: skip
_DEFAULT_CHUNKS: Mapping[str, int] = {"reset": 0, "keep_alive": 0}
_DEFAULT_WAIT: Mapping[str, float] = {"slow": 10_000, "split": 2}
_DEFAULT_SIZE: Mapping[str, int] = {"long_line": 5_000_000, "gzip_bomb": 100_000_000}

_OPEN: Mapping[str, object] = {
    "chunks": -1,
    "wait_ms": -1.0,
    "size": -1,
    "variant": "unclosed",
    "usage": "negative",
}
_CHUNKED = {"cut", "reset", "stall", "keep_alive", "error_frame", "malformed", "long_line"}
_MEANS: Mapping[str, set[str]] = {
    "chunks": _CHUNKED,
    "wait_ms": {"slow", "drip", "endless_headers", "keep_alive", "split"},
    "size": {"long_line", "gzip_bomb"},
    "variant": {"malformed"},
    "usage": {"usage"},
    "location": {"redirect"},
    "content_type": {"content_type"},
    "code": {"error", "error_frame"},
}


class Fault(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer that goes wrong. The first fault of a model that takes a call decides it.

    Which calls: the `first` so many of the model, or a `share` of all, drawn by the call's number, or those within a
    window, `after_seconds` (0) until `for_seconds` later (for good unless given), counted `since` the first call of
    the model or the start of the mock. A window and a share together take a share of the window's calls.

    What goes wrong, by `body`:

    - `error`: the vendor's error document with `status` (500), `code`, and a `retry_after` as it stands or, with
      `retry_after_date`, as the date so many seconds ahead. `html`: a proxy's page. `empty`: a status without a body.
    - `closed`: the connection ends instead of an answer. `reset`: it is reset (RST), after `chunks` (0).
      `blackhole`: nothing ever comes. `slow`: the first byte comes after `wait_ms` (10,000).
    - `truncated`: an answer cut in half, properly ended. `cut`: it ends after `chunks` (1), the connection closes.
      `stall`: after `chunks` (1) nothing more comes. A chunk is one event of a stream, or a sixteenth of a document.
    - `drip`: a byte of the body every `wait_ms` (1,000). `endless_headers`: another header every `wait_ms`.
      `keep_alive`: after `chunks` (0) only comments, every `wait_ms`.
    - `error_frame`: status 200, after `chunks` (1) an error of `status` (500) within.
    - `malformed`: JSON gone wrong by `variant` (`unclosed`), in a stream in the event after `chunks` (1).
      `long_line`: that event is `size` (5,000,000) bytes longer. `split`: a stream with CRLF and text beyond ASCII,
      sent in pieces, `wait_ms` (2) apart, that end within characters and line ends.
    - `gzip_bomb`: gzip that decodes to `size` (100,000,000) bytes, a thousandth of it on the wire.
    - `usage`: tokens that are `negative`, `huge` (10^12) or `missing`. `redirect`: 302 to `location`.
      `content_type`: the right answer under that type.

    Endless ones end when the client leaves, at the latest after an hour.
    """

    status: Annotated[int, Meta(ge=200, le=599)] = 0
    share: Annotated[float, Meta(ge=0, le=1)] | None = None
    first: Annotated[int, Meta(ge=1)] | None = None
    retry_after: HeaderText | None = None
    body: Body = "error"
    after_seconds: Seconds | None = None
    for_seconds: Seconds | None = None
    since: Literal["first_call", "start"] = "first_call"
    retry_after_date: Seconds | None = None
    code: HeaderText | None = None
    chunks: Annotated[int, Meta(ge=0, le=1_000_000)] = -1
    wait_ms: Annotated[float, Meta(ge=0, le=3_600_000)] = -1.0
    size: Annotated[int, Meta(ge=1, le=10 * 2**30)] = -1
    variant: Malformation = "unclosed"
    usage: Literal["negative", "huge", "missing"] = "negative"
    location: Annotated[str, Meta(pattern=r"^[!-~]{1,2000}$")] | None = None
    content_type: HeaderText | None = None

    def __post_init__(self) -> None:
        """Check that the words fit together, and fill in what the body leaves open."""
        if self.share is not None and self.first is not None:
            raise ValueError("a fault needs either `share` or `first`, not both")
        if self.windowed and self.first is not None:
            raise ValueError("a fault with a window takes all of its calls or a `share`; leave out `first`")
        if not self.windowed and self.share is None and self.first is None:
            raise ValueError(
                "a fault needs either `share` or `first`, or a window of `after_seconds` and `for_seconds`"
            )
        for word, bodies in _MEANS.items():
            if getattr(self, word) != _OPEN.get(word) and self.body not in bodies:
                raise ValueError(
                    f"`{word}` means nothing to a fault with the body `{self.body}`; leave it out"
                )
        for word in ("location", "content_type"):
            if self.body in _MEANS[word] and getattr(self, word) is None:
                raise ValueError(f"a fault with the body `{self.body}` needs `{word}`")
        self._fill()

    def _fill(self) -> None:
        defaults = {
            "chunks": _DEFAULT_CHUNKS.get(self.body, 1),
            "wait_ms": _DEFAULT_WAIT.get(self.body, 1000),
            "size": _DEFAULT_SIZE.get(self.body, 1),
        }
        for word, value in defaults.items():
            if getattr(self, word) == _OPEN[word]:
                force_setattr(self, word, value)
        if not self.status:
            force_setattr(self, "status", _DEFAULT_STATUS.get(self.body, 200))

    @property
    def windowed(self) -> bool:
        """Whether it holds for a time only."""
        return self.after_seconds is not None or self.for_seconds is not None
