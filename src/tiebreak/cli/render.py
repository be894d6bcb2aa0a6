"""The results document as a picture for the terminal: aligned interval bars, the verdict, what it cost.

Colour only where the verdict rests on a comparison; everything else is grey. Which way is good is an arrow, so the
picture says the same without colour. Intervals in one unit share one axis.
"""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from tiebreak.analytics import wording
from tiebreak.analytics.wording import Unit
from tiebreak.cli.bars import ASCII, GREY, LINES, Marks, Row, axis_over, bar, scale
from tiebreak.cli.output import NONE, console, printable

# One response costs fractions of a cent; a thousand of them cost something a person can compare.
DOLLARS = Unit("$ per 1,000 responses", 1000.0, prefix="$")
UNITS = {"points": wording.POINTS, "ms": wording.MILLISECONDS, "tokens": wording.TOKENS, "usd": DOLLARS}
PLAIN = Unit("")
ARROWS = {"higher": "↑", "lower": "↓"}
GOOD, BAD, EVEN = "bold green", "bold red", "bold cyan"
COLOURS = {"better": GOOD, "not_worse_and_cheaper": GOOD, "worse": BAD, "unhealthy": BAD, "equivalent": EVEN}
DECIDED = frozenset({"better", "worse", "equivalent", "not_worse_and_cheaper"})
WIDEST_LABEL, NARROWEST_LABEL = 28, 12
WIDEST_BAR, NARROWEST_BAR = 48, 18
GAP = "  "


def worth_a_line(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The comparisons but those of a measure that no response has and nobody asked for."""
    return [
        comparison
        for comparison in document["comparisons"]
        if comparison["difference"] is not None or comparison.get("role") != "secondary"
    ]


def rows_of(document: Mapping[str, Any]) -> list[Row]:
    """The comparisons of a results document, in its order."""
    variants = {variant["key"]: variant for variant in document["variants"]}
    several = len({comparison["variant"] for comparison in document["comparisons"]}) > 1
    verdict = document["verdict"]
    return [_row(comparison, variants, verdict, several) for comparison in worth_a_line(document)]


def _row(
    comparison: Mapping[str, Any], variants: Mapping[str, Any], verdict: Mapping[str, Any], several: bool
) -> Row:
    unit = UNITS.get(comparison.get("unit", ""), PLAIN)
    name, direction = comparison["metric"], comparison.get("direction")
    arrow = f" {ARROWS[direction]}" if direction in ARROWS else ""
    low, high = comparison["interval"] or (None, None)
    return Row(
        label=f"{name}{arrow}" + (f" {comparison['variant']}" if several else ""),
        unit=unit,
        control=_mean(variants.get(comparison["control"]), name, unit),
        variant=_mean(variants.get(comparison["variant"]), name, unit),
        difference=_difference(comparison, unit),
        estimate=comparison["difference"],
        low=low,
        high=high,
        margin=comparison.get("margin"),
        threshold=_limit(comparison),
        colour=colour_of(comparison, kind_for(comparison["variant"], verdict)),
    )


def kind_for(variant: str, verdict: Mapping[str, Any]) -> str:
    """What is concluded of this variant: its own conclusion where there are several variants."""
    own = (c["kind"] for c in verdict.get("conclusions") or () if c["variant"] == variant)
    return str(next(own, verdict["kind"]))


def colour_of(comparison: Mapping[str, Any], kind: str) -> str:
    """Grey, unless something is decided and this comparison has a part in it."""
    if not comparison.get("decisive") or comparison["interval"] is None or kind not in DECIDED:
        return GREY
    lower = comparison.get("direction") == "lower"
    harm = sorted(end if lower else -end for end in comparison["interval"])
    threshold = comparison.get("threshold")
    if threshold is not None:
        return EVEN if harm[1] <= threshold else BAD if harm[0] > threshold else GREY
    if harm[1] < 0 and kind != "equivalent":
        return GOOD
    if kind in ("equivalent", "not_worse_and_cheaper"):
        return EVEN
    return BAD if harm[0] > 0 else GREY


def _limit(comparison: Mapping[str, Any]) -> float | None:
    """A guardrail's threshold as a place on the axis: on the bad side of zero."""
    threshold = comparison.get("threshold")
    if threshold is None:
        return None
    return float(threshold if comparison.get("direction") == "lower" else -threshold)


def _mean(variant: Mapping[str, Any] | None, metric: str, unit: Unit) -> str:
    measured = None if variant is None else variant["metrics"].get(metric)
    if measured is None or measured["mean"] is None:
        return NONE
    value, error = measured["mean"] * unit.factor, (measured["se"] or 0.0) * unit.factor
    places = wording.decimals(4 * error if error > 0 else abs(value))
    suffix = {"points": " %", "ms": " ms"}.get(unit.name, "")
    return f"{'−' if value < 0 else ''}{unit.prefix}{abs(value):,.{places}f}{suffix}"


def _difference(comparison: Mapping[str, Any], unit: Unit) -> str:
    estimate, interval = comparison["difference"], comparison["interval"]
    if estimate is None:
        return NONE
    if interval is None:
        return wording.signed(estimate, unit, wording.decimals(abs(estimate * unit.factor)), bare=True)
    width = (interval[1] - interval[0]) * unit.factor
    places = wording.decimals(width if width > 0 else abs(estimate * unit.factor))
    middle, low, high = (wording.signed(value, unit, places, bare=True) for value in (estimate, *interval))
    return f"{middle} [{low}, {high}]"


def picture(document: Mapping[str, Any], width: int = 80, marks: Marks = LINES) -> list[Text]:
    """The whole document as lines of at most `width` cells."""
    lines = [_title(document), Text()]
    rows = rows_of(document)
    if rows:
        lines += [*_table(document, rows, width, marks), Text()]
    lines += _unscored(document, width)
    lines += _verdict(document["verdict"], width)
    lines.append(Text(_spend(document["spend"]), style=GREY))
    return lines


def _title(document: Mapping[str, Any]) -> Text:
    test, run = document["test"], document.get("run")
    facts = [str(test["state"])]
    if run is not None:
        facts.append(f"{run['done']:,} of {run['total']:,} responses")
    title = Text(printable(test["name"]), style="bold")
    return title.append("  " + " · ".join(facts), style=GREY)


def _table(document: Mapping[str, Any], rows: Sequence[Row], width: int, marks: Marks) -> Iterator[Text]:
    comparisons = worth_a_line(document)
    control = comparisons[0]["control"]
    keys = {comparison["variant"] for comparison in comparisons}
    variant = keys.pop() if len(keys) == 1 else "variant"
    levels = {comparison["level"] for comparison in comparisons}
    level = wording.percent(levels.pop()) if len(levels) == 1 else "interval"
    head = f"{variant} − {control} [{level}]"
    heads = ["metric", control, variant, head if len(head) <= 28 else f"difference [{level}]"]
    cells = [[row.label, row.control, row.variant, row.difference] for row in rows]
    widths, room = columns(heads, cells, width)
    yield Text(_aligned(heads, widths), style="bold")
    for unit in dict.fromkeys(row.unit for row in rows):
        group = [row for row in rows if row.unit == unit]
        axis = axis_over(group, room)
        places = wording.decimals((axis.high - axis.low) * unit.factor)
        before = sum(widths) + len(GAP) * len(widths)
        yield Text(f"{unit.name:<{before}}{scale(axis, unit, places)}", style=GREY)
        for row in group:
            text = _aligned([row.label, row.control, row.variant, row.difference], widths)
            yield Text(text + GAP).append_text(bar(row, axis, marks))
    if level == "interval":
        yield Text(_levels(comparisons), style=GREY)


def _levels(comparisons: Iterable[Mapping[str, Any]]) -> str:
    """Which interval has which level, where several comparisons decide and theirs are wider."""
    metrics: dict[float, list[str]] = {}
    for comparison in comparisons:
        metrics.setdefault(comparison["level"], []).append(comparison["metric"])
    parts = (
        f"{wording.percent(level)} for {', '.join(dict.fromkeys(names))}" for level, names in metrics.items()
    )
    return f"Intervals: {'; '.join(parts)}"


def columns(heads: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> tuple[list[int], int]:
    """Widths of the four columns of text, and what is left for the bars.

    Where it is tight, first the names above numbers give way, then the labels, then the bars; numbers never.
    """
    body = [max(len(line[place]) for line in cells) for place in range(len(heads))]
    widths = [max(len(head), inside) for head, inside in zip(heads, body, strict=True)]
    widths[0] = min(widths[0], WIDEST_LABEL)
    least = [min(widths[0], NARROWEST_LABEL), *body[1:]]
    spare = width - sum(widths) - len(GAP) * len(widths) - NARROWEST_BAR
    for place in (3, 1, 2, 0):
        cut = min(max(-spare, 0), widths[place] - least[place])
        widths[place] -= cut
        spare += cut
    return widths, min(WIDEST_BAR, max(NARROWEST_BAR // 2, NARROWEST_BAR + spare))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (_cut(cell, width) for cell, width in zip(cells, widths, strict=True))
    return GAP.join(
        [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
    )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _unscored(document: Mapping[str, Any], width: int) -> Iterator[Text]:
    """What could not be judged, so that no number hides how many it left out."""
    names = {comparison["metric"] for comparison in worth_a_line(document)}
    for variant in document["variants"]:
        for name, measured in variant["metrics"].items():
            if not measured["unscored"] or name not in names:
                continue
            reasons = ", ".join(
                f"{word} {times:,}" for word, times in (measured.get("reasons") or {}).items()
            )
            line = f"{variant['key']}, {name}: {measured['unscored']:,} unscored" + (
                f" ({reasons})" if reasons else ""
            )
            yield from (Text(part, style=GREY) for part in textwrap.wrap(line, width, subsequent_indent="  "))


def _verdict(verdict: Mapping[str, Any], width: int) -> Iterator[Text]:
    kind = verdict["kind"]
    yield Text(kind.replace("_", " ").upper(), style=COLOURS.get(kind, "bold"))
    for line in textwrap.wrap(printable(verdict["sentence"]), width):
        yield Text(line)
    if verdict["next_step"]:
        for line in textwrap.wrap(
            f"Next: {printable(verdict['next_step'])}", width, subsequent_indent="      "
        ):
            yield Text(line)


def _spend(spend: Mapping[str, Any]) -> str:
    return f"Spend {money(spend['amount'])} · {spend['calls']:,} calls · {spend['tokens']:,} tokens"


def money(amount: float | None) -> str:
    """US dollars, to the cent or, below a dollar, with two significant digits."""
    if amount is None:
        return NONE
    if amount == 0 or abs(amount) >= 1:
        return f"${amount:,.2f}"
    return f"${amount:.{max(2, 1 - math.floor(math.log10(abs(amount))))}f}"


def print_results(document: Mapping[str, Any]) -> None:
    """Draw the document for the terminal (or the pipe) on stdout."""
    terminal = console()
    marks = LINES if not terminal.options.ascii_only else ASCII
    for line in picture(document, min(terminal.width, 120), marks):
        terminal.print(line, soft_wrap=True)
