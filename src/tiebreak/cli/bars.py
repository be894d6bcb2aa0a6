"""Interval bars for the terminal, aligned on one axis."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text

from tiebreak.analytics import wording
from tiebreak.analytics.wording import Unit

GREY = "bright_black"


@dataclass(frozen=True, slots=True)
class Marks:
    """What bars are drawn with."""

    interval: str
    point: str
    zero: str
    zero_inside: str
    band: str
    threshold: str


LINES = Marks("━", "●", "│", "┿", "░", "┊")
ASCII = Marks("=", "o", "|", "+", ".", ":")


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison as it is drawn; numbers in the metric's own unit."""

    label: str
    unit: Unit
    control: str
    variant: str
    difference: str
    estimate: float | None
    low: float | None
    high: float | None
    margin: float | None
    threshold: float | None
    colour: str


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, `width` cells wide; zero is always on it."""

    low: float
    high: float
    width: int

    def cell(self, value: float) -> int:
        """Where a value falls; the ends where it is outside."""
        place = round((value - self.low) / (self.high - self.low) * (self.width - 1))
        return min(max(place, 0), self.width - 1)


def axis_over(rows: Iterable[Row], width: int) -> Axis:
    """An axis that shows every interval, margin and threshold of the rows, with a tenth of room on each side."""
    marks = [0.0]
    for row in rows:
        band = () if row.margin is None else (-row.margin, row.margin)
        marks += [
            mark for mark in (row.low, row.high, row.estimate, row.threshold, *band) if mark is not None
        ]
    low, high = min(marks), max(marks)
    room = 0.1 * (high - low) or 1.0
    return Axis(low - room, high + room, width)


def bar(row: Row, axis: Axis, marks: Marks = LINES) -> Text:
    """The interval of a row on the axis: band of no importance, zero line, interval, estimate."""
    cells = [" "] * axis.width
    if row.margin is not None:
        for place in range(axis.cell(-row.margin), axis.cell(row.margin) + 1):
            cells[place] = marks.band
    if row.threshold is not None:
        cells[axis.cell(row.threshold)] = marks.threshold
    zero = axis.cell(0.0)
    cells[zero] = marks.zero
    drawn = Text("".join(cells), style=GREY)
    if row.estimate is None:
        return drawn
    if row.low is None or row.high is None:
        cells[axis.cell(row.estimate)] = marks.point
        return Text("".join(cells), style=GREY)
    first, last = axis.cell(row.low), axis.cell(row.high)
    cells[first : last + 1] = [marks.interval] * (last - first + 1)
    if first <= zero <= last:
        cells[zero] = marks.zero_inside
    cells[axis.cell(row.estimate)] = marks.point
    drawn = Text("".join(cells), style=GREY)
    drawn.stylize(row.colour, first, last + 1)
    return drawn


def scale(axis: Axis, unit: Unit, places: int) -> str:
    """The axis' own line: its ends and zero, each left out where there is no room for it."""
    low = wording.signed(axis.low, unit, places, bare=True)
    high = wording.signed(axis.high, unit, places, bare=True)
    if len(low) + len(high) >= axis.width:
        return ""
    cells = list(low.ljust(axis.width - len(high)) + high)
    zero = axis.cell(0.0)
    if all(char == " " for char in cells[max(zero - 1, 0) : zero + 2]):
        cells[zero] = "0"
    return "".join(cells)
