"""`tiebreak provider health` and `usage`: what is known of providers in use."""

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from tiebreak.cli.connection import Connection
from tiebreak.cli.output import NONE, Column, key, print_fields, print_table, show


async def health(options: argparse.Namespace, api: Connection) -> int:
    """One provider in detail, or a row for each."""
    if options.name is None:
        rows = [await api.get(_path(row["name"], "health")) async for row in api.pages("/providers")]
        empty = "no providers; `tiebreak provider add` adds one"
        return show(options, rows, lambda: print_table(_OVERVIEW, rows, empty=empty))
    document = await api.get(_path(options.name, "health"))
    return show(options, document, lambda: _print_health(document))


async def usage(options: argparse.Namespace, api: Connection) -> int:
    """A row for each day and model, and one for all together."""
    document = await api.get(_path(options.name, "usage"), days=options.days)
    total = {**document["totals"], "day": "total", "model": None}
    rows = [*document["rows"], total] if document["rows"] else []
    empty = f"nothing went through {options.name} since {document['since']} (UTC)"
    return show(options, document, lambda: print_table(_USAGE, rows, empty=empty))


def _path(name: str, report: str) -> str:
    return f"/providers/{quote(name, safe='')}/{report}"


def _print_health(document: Mapping[str, Any]) -> None:
    hour = document["last_hour"]
    latency = hour["latency"]
    print_fields(
        [
            ("state", document["state"]),
            ("since", document["since"]),
            ("reason", document["reason"]),
            (
                "last hour",
                f"{hour['calls']:,} calls, {hour['answers']:,} answers, {hour['refused']:,} refused",
            ),
            ("success", _success(document)),
            ("latency", "  ".join(f"{q} {_ms(latency[f'{q}_ms'])}" for q in ("p50", "p95", "p99"))),
            ("failures", _counted(hour["failures"])),
            ("faults", _counted(hour["faults"])),
            ("as of", document["as_of"]),
        ]
    )
    print()
    print_table(_CIRCUITS, document["circuits"], empty="no process has called it lately")


def _success(document: Mapping[str, Any]) -> str:
    success = document["last_hour"]["success"]
    if success["share"] is None:
        return NONE
    low, high = success["interval"]
    return f"{_share(success['share'])} [{_share(low)}, {_share(high)}]"


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value * 100:.2f} %"


def _time(moment: str | None) -> str:
    return NONE if moment is None else moment[11:19]


def _ms(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f} ms"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _cost(used: Mapping[str, Any]) -> str:
    from tiebreak.cli.render import money  # draws results, too, which is much to load for one word

    if used["reason"] is None:
        return money(used["cost_usd"])
    return f"{money(used['priced_usd'])} + ?" if used["priced_usd"] else NONE


_OVERVIEW = [
    key("provider"),
    key("state"),
    Column("calls/h", lambda row: row["last_hour"]["calls"], right=True),
    Column("success", lambda row: _share(row["last_hour"]["success"]["share"]), right=True),
    Column("p50", lambda row: _ms(row["last_hour"]["latency"]["p50_ms"]), right=True),
    Column("p95", lambda row: _ms(row["last_hour"]["latency"]["p95_ms"]), right=True),
    key("reason"),
]
_CIRCUITS = [
    key("endpoint"),
    key("credential", "key"),
    Column("breaker", lambda row: row["state"]),
    Column("since", lambda row: row["since"][5:16].replace("T", " ")),
    Column("next call", lambda row: _time(row["next_probe"])),
    Column("slots", lambda row: f"{row['held']:,} of {row['slots']:,}", right=True),
    key("waiting", "wait", right=True),
]
_USAGE = [
    Column("day", lambda row: row["day"][-5:]),  # the year says nothing within 90 days
    key("model"),
    key("calls", right=True),
    key("answers", right=True),
    Column("shared", lambda row: row["cached"] + row["joined"], right=True),
    key("input_tokens", "in", right=True),
    key("output_tokens", "out", right=True),
    Column("cost", _cost, right=True),
]
