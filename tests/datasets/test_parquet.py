"""Parquet in its own process: what is read, what is refused, and that it stays inside its limits."""

import json
import sys
from pathlib import Path

import duckdb
import pytest

from tiebreak.datasets import parquet
from tiebreak.errors import InvalidInput, Misconfigured, PayloadTooLarge


def write(path: Path, query: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"copy ({query}) to '{path}' (format parquet)")


async def test_rows_come_as_json_lines(tmp_path):
    write(tmp_path / "in", "select 1 as a, 'x' as b, 1.50::decimal(4, 2) as c, [1, 2] as d, null as e")
    await parquet.to_jsonl(tmp_path / "in", tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert rows == [{"a": 1, "b": "x", "c": 1.5, "d": [1, 2], "e": None}]


@pytest.mark.parametrize("content", [b"", b"id,question\nq1,a\n", b"PAR1" + b"\0" * 100 + b"PAR1"])
async def test_what_is_not_parquet_is_refused_without_the_servers_paths(tmp_path, content):
    (tmp_path / "in").write_bytes(content)
    with pytest.raises(InvalidInput, match="not a Parquet file that can be read: ") as caught:
        await parquet.to_jsonl(tmp_path / "in", tmp_path / "out")
    assert str(tmp_path) not in caught.value.detail


async def test_a_small_file_of_many_rows_is_stopped_at_the_limit(tmp_path):
    write(tmp_path / "in", "select repeat('x', 4000) as a from range(10000)")
    assert (tmp_path / "in").stat().st_size < 2**20
    with pytest.raises(PayloadTooLarge, match="the Parquet file expands to over 10 MB of JSON; split it"):
        await parquet.to_jsonl(tmp_path / "in", tmp_path / "out", limit=10 * 2**20)


async def test_without_the_extra_the_command_to_install_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(Misconfigured) as caught:
        await parquet.to_jsonl(tmp_path / "in", tmp_path / "out")
    assert caught.value.detail == (
        "reading Parquet needs DuckDB: pip install 'tiebreak[analytics]', or upload CSV or JSON Lines"
    )
