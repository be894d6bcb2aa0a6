"""Waiting for a run: a progress bar with rate, spend and the time left, from the run's own document."""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from tiebreak.cli.connection import Connection
from tiebreak.cli.output import console
from tiebreak.cli.render import money

LOOK_EVERY = 0.5  # seconds


class Meter(Protocol):
    """Shows where a run stands."""

    def update(self, run: Mapping[str, Any]) -> None:
        """The run's present document."""
        ...


async def follow(api: Connection, run_id: str, meter: Meter) -> dict[str, Any]:
    """Wait until the run is no longer running; gives its document.

    Raises:
        TiebreakError: the API stopped answering.
    """
    while True:
        run: dict[str, Any] = await api.get(f"/runs/{run_id}")
        meter.update(run)
        if run["state"] != "running":
            return run
        await asyncio.sleep(LOOK_EVERY)


def facts(run: Mapping[str, Any]) -> str:
    """`1,204/s · $0.42 · 12 s left`: what is known of it."""
    rate, left = run["rate_per_second"], run["eta_seconds"]
    parts = [
        None if rate is None else f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s",
        money(run["spend"]["amount"]),
        None if left is None else f"{duration(left)} left",
    ]
    return " · ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """`12 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Silent:
    """Nothing is shown: the output is a file, a pipe or JSON."""

    def update(self, run: Mapping[str, Any]) -> None:
        """Nothing."""


@contextmanager
def progress(*, quiet: bool) -> Iterator[Meter]:
    """A bar on stderr while the block runs, where stderr is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield Silent()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        console=console(stderr=True),
        transient=True,
    )
    task = bar.add_task("", total=None, facts="")

    class Bar:
        def update(self, run: Mapping[str, Any]) -> None:
            bar.update(task, completed=run["done"], total=run["total"], facts=facts(run))

    with bar:
        yield Bar()
