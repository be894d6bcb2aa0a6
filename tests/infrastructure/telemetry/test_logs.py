"""Logs are one line an event and hold no credential."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from tiebreak.infrastructure.telemetry import logs

SENTINEL = "sk-sentinel-0123456789abcdef"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Logging set up on a stream, and put back."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    buffer = io.StringIO()
    logs.configure("info", stream=buffer)
    yield buffer
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_time_level_and_logger(stream):
    structlog.get_logger("tiebreak.runs").info("run started", run="r1")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"], line["run"]) == (
        "run started",
        "info",
        "tiebreak.runs",
        "r1",
    )
    assert line["timestamp"].endswith("Z")


def test_the_standard_librarys_loggers_come_the_same_way(stream):
    logging.getLogger("some.library").warning("port %d", 8321)
    assert lines(stream)[0]["event"] == "port 8321"


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": SENTINEL},
        {"headers": {"Authorization": f"Bearer {SENTINEL}"}},
        {"secrets": [SENTINEL]},
        {"detail": f"the vendor said: wrong key {SENTINEL}."},
        {"detail": f"Authorization: Bearer {SENTINEL}"},
        {"nested": [{"deep": (f"x {SENTINEL}",)}]},
        {"url": f"postgresql://me:{SENTINEL}@db/x"},
        {"cause": ValueError(SENTINEL)},
        {"detail": f"no such key: tb_abcd2345_{SENTINEL.replace('sk-', '')}{'x' * 21}"},
    ],
)
def test_credentials_are_hidden_by_key_and_by_shape(stream, fields):
    structlog.get_logger().info("call", **fields)
    assert SENTINEL not in stream.getvalue()
    assert logs.HIDDEN in stream.getvalue()


def test_a_traceback_holds_no_credential_and_no_locals(stream):
    def call(key: str) -> None:
        raise RuntimeError(f"refused {key}")

    try:
        call(SENTINEL)
    except RuntimeError:
        structlog.get_logger().exception("failed")
    (line,) = lines(stream)
    assert "RuntimeError" in line["exception"]
    assert SENTINEL not in stream.getvalue()


def test_an_absent_secret_is_shown_as_absent(stream):
    structlog.get_logger().info("provider", api_key=None)
    assert lines(stream)[0]["api_key"] is None


def test_what_an_upstream_sent_cannot_forge_a_second_line(stream):
    structlog.get_logger().info("answer", body='x\n{"event": "forged"}\x1b[2J\x00')
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in lines(stream)[0]["body"]


def test_debug_is_silent_at_info(stream):
    structlog.get_logger("x").debug("noise")
    logging.getLogger("x").debug("noise")
    assert stream.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_aligned_text():
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    terminal = Terminal()
    try:
        logs.configure(stream=terminal)
        structlog.get_logger("tiebreak").warning("careful", api_key=SENTINEL)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        structlog.reset_defaults()
    assert "careful" in terminal.getvalue()
    assert SENTINEL not in terminal.getvalue()
