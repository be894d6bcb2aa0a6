"""Parquet, through DuckDB (the extra `analytics`), in a process of its own with limits.

The file is turned into JSON Lines, which has one reader with one set of rules. DuckDB reads a format made for
compression, written by anybody: it may neither reach the network, nor other files, nor take the server's memory.
"""

import asyncio
import importlib.util
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tiebreak.errors import InvalidInput, Misconfigured, PayloadTooLarge

if TYPE_CHECKING:
    import duckdb

MAX_EXPANDED = 2**30  # bytes of JSON Lines
DEADLINE = 300.0  # seconds
_MEMORY = 2 * 2**30  # bytes of address space
_TOO_LARGE = 3  # exit code
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "512MB",
    "temp_directory": "",
    "threads": "1",
}


async def to_jsonl(source: Path, target: Path, *, limit: int = MAX_EXPANDED) -> None:
    """Write the rows of a Parquet file as JSON Lines of at most `limit` bytes.

    Raises:
        Misconfigured: the extra is not installed.
        InvalidInput: not a Parquet file, or one that takes longer than five minutes.
        PayloadTooLarge: more than that.
    """
    if importlib.util.find_spec("duckdb") is None:
        raise Misconfigured(
            "reading Parquet needs DuckDB: pip install 'tiebreak[analytics]', or upload CSV or JSON Lines"
        )
    command = (sys.executable, "-P", "-m", "tiebreak.datasets.parquet", str(source), str(target), str(limit))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(DEADLINE):
            _, errors = await process.communicate()
    except TimeoutError as exc:
        raise InvalidInput(
            f"reading the Parquet file takes over {DEADLINE:.0f} s; upload a smaller one"
        ) from exc
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == _TOO_LARGE:
        raise PayloadTooLarge(f"the Parquet file expands to over {limit // 2**20} MB of JSON; split it")
    if process.returncode != 0:
        reason = errors.decode(errors="replace").strip().splitlines()[-1:] or ["it ended without a reason"]
        raise InvalidInput(f"not a Parquet file that can be read: {reason[0]}")


def convert(source: str, target: str, limit: int) -> int:
    """What the process does; its exit code. The reason goes to standard error, in one line."""
    import duckdb  # an extra: not every installation has it

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(DEADLINE), int(DEADLINE)))
    try:
        with duckdb.connect(config=_CONFIG) as connection:
            connection.execute("set allowed_paths = ?", [[source]])
            connection.execute("set enable_external_access = false")
            connection.execute("set lock_configuration = true")
            connection.execute("select to_json(item)::text from read_parquet(?) item", [source])
            with Path(target).open("w", encoding="utf-8") as file:
                return _write(connection, file, limit)
    except (duckdb.Error, MemoryError) as exc:
        reason = " ".join(str(exc).split()).replace(source, "the file")
        sys.stderr.write(f"{reason[:300]}\n")
        return 1


def _write(connection: "duckdb.DuckDBPyConnection", file: TextIO, limit: int) -> int:
    while rows := connection.fetchmany(100):
        file.writelines(f"{row}\n" for (row,) in rows)
        if file.tell() > limit:
            return _TOO_LARGE
    return 0


if __name__ == "__main__":
    sys.exit(convert(sys.argv[1], sys.argv[2], int(sys.argv[3])))
