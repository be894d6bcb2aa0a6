"""Logs: one event per line on stderr, the standard library's loggers included, secrets taken out last."""

import logging
import re
import sys
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

HIDDEN = "[hidden]"
# Keys whose whole value is a credential, whatever it looks like.
SECRET_KEY = re.compile(
    r"api[_-]?key|authorization|cookie|passw(or)?d|secret|token$|^dsn$|credential", re.IGNORECASE
)
# Credentials inside a text: bearer tokens, vendors' key shapes and ours, passwords in URLs.
SECRET_TEXT = re.compile(
    r"(?i:\bbearer\s+)\S+|\b(?:sk|pk|rk|xai|gsk)[-_][A-Za-z0-9_-]{8,}|(?<=\btb_[a-z2-7]{8}_)[A-Za-z0-9_-]+"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
)
# A line stays one line, and a terminal is not steered by what an upstream sent.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|\r?\n(?=.)")

# Loggers whose info lines tell an operator nothing.
CHATTY = ("alembic",)


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The last processor before rendering: hides credentials by key and by shape, at any depth."""
    return {key: _clean(str(key), value) for key, value in event.items()}


def _clean(key: str, value: Any) -> Any:
    if SECRET_KEY.search(key) and value is not None:
        return HIDDEN
    if isinstance(value, str):
        return SECRET_TEXT.sub(HIDDEN, value)
    if isinstance(value, dict):
        return {inner: _clean(str(inner), content) for inner, content in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(key, content) for content in value]
    if isinstance(value, BaseException):
        return SECRET_TEXT.sub(HIDDEN, f"{type(value).__name__}: {value}")
    return value


def one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape control characters in every text but a traceback, so that one event is one line (no log injection)."""
    return {
        key: CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), value)
        if isinstance(value, str) and key != "exception"
        else value
        for key, value in event.items()
    }


def configure(level: str = "info", *, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's root logger for this process.

    JSON lines when `stream` (stderr) is not a terminal, else aligned text. Tracebacks hold no local variables:
    those are where prompts and keys live.
    """
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=True, exception_formatter=structlog.dev.plain_traceback)
        if stream.isatty()
        else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                one_line,
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
