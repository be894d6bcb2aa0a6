"""Making a database cluster in the data folder, and handing an existing one to the identity that runs it."""

import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tiebreak.errors import Misconfigured, Unavailable
from tiebreak.infrastructure.connections.private_postgres.binaries import Binaries
from tiebreak.infrastructure.connections.private_postgres.folder import DATABASE, ROLE, Folder
from tiebreak.infrastructure.connections.private_postgres.identity import (
    Command,
    Identity,
    Way,
    run_as,
    spawn,
)
from tiebreak.infrastructure.connections.private_postgres.postmaster import environment

_BUILTIN_LOCALE_MAJOR = 17
_HBA = "local all all scram-sha-256\n"


def prepare(folder: Folder, binaries: Binaries, identity: Identity, *, log: int) -> Binaries:
    """Make the folder ready for a start: entered by the identity, owned by it, initialised, its password known.

    Returns the programs to use, which are copies where the identity cannot reach the originals.

    Raises:
        Misconfigured: the identity cannot enter the folder, or a fresh cluster cannot be made.
    """
    open_way(folder, identity)
    binaries = reachable(folder, binaries, identity)
    _own_folder(folder.sockets, identity)
    if folder.major() is None:
        _make(folder, binaries, identity, log=log)
    give(folder.data, identity)
    if not folder.password.exists():
        set_password(folder, folder.data, binaries, identity, log=log)
    return binaries


def open_way(folder: Folder, identity: Identity) -> None:
    """Let another user pass through the data folder to his own part, and see that he can come as far as that.

    Raises:
        Misconfigured: a folder above is closed to him; it is named, and left as it is.
    """
    if identity.way is not Way.DROP:
        return
    folder.home.chmod(folder.home.stat().st_mode | 0o011)
    steps = [*reversed(folder.home.parents), folder.home]
    code = run_as(identity, lambda: next((i for i, step in enumerate(steps, 1) if not _enters(step)), 0))
    if code != 0:
        raise Misconfigured(
            f"the server runs as uid {identity.uid}, because PostgreSQL refuses root and user namespaces are blocked, "
            f"and that user cannot enter {steps[min(code, len(steps)) - 1]}; set TIEBREAK_HOME to a folder outside it "
            "(as /var/lib/tiebreak), or DATABASE_URL to a PostgreSQL server"
        )


def _enters(step: Path) -> bool:
    return os.access(step, os.X_OK)


def reachable(folder: Folder, binaries: Binaries, identity: Identity) -> Binaries:
    """The programs, or copies of them in the data folder where that identity cannot run the originals."""
    if identity.way is not Way.DROP or run_as(identity, lambda: 0 if _runs(binaries) else 1) == 0:
        return binaries
    prefix = binaries.folder.parent
    place = folder.binaries / binaries.version
    # The wheel's libraries are found relative to the programs: prefix/../../NAME.libs.
    copied = replace(binaries, folder=place / prefix.parent.name / prefix.name / "bin")
    if not place.exists():
        fresh = place.with_name(f"{place.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(prefix, fresh / prefix.parent.name / prefix.name, symlinks=True)
        if binaries.libraries is not None:
            shutil.copytree(binaries.libraries, fresh / binaries.libraries.name, symlinks=True)
        _make_readable(fresh)
        folder.binaries.chmod(0o755)
        fresh.rename(place)
    return copied


def _runs(binaries: Binaries) -> bool:
    return os.access(binaries.postgres, os.X_OK) and os.access(binaries.libraries or "/", os.R_OK | os.X_OK)


def _make_readable(top: Path) -> None:
    for parent, _, files in os.walk(top):
        Path(parent).chmod(0o755)
        for name in files:
            path = Path(parent, name)
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.stat().st_mode & 0o100 else 0o444))


def give(top: Path, identity: Identity) -> None:
    """Make everything below `top` the identity's own, `top` last: its owner then speaks for the rest.

    Raises:
        Misconfigured: it is another user's, and we may not change that.
    """
    if (top.stat().st_uid, top.stat().st_gid) == (identity.owner, identity.group):
        return
    try:
        for parent, folders, files in os.walk(top, topdown=False):
            for name in [*folders, *files]:
                os.chown(Path(parent, name), identity.owner, identity.group, follow_symlinks=False)
        os.chown(top, identity.owner, identity.group)
    except PermissionError as exc:
        raise Misconfigured(
            f"{top} belongs to uid {top.stat().st_uid}, and the server would run as uid {identity.owner}; "
            "run as that user, or set TIEBREAK_HOME to a folder of yours"
        ) from exc


def _own_folder(path: Path, identity: Identity) -> None:
    """A folder 0700 of the identity's own; another user's on a shared path is refused, as he could listen there."""
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if path.is_symlink() or status.st_uid not in (os.geteuid(), identity.owner):
        raise Misconfigured(
            f"{path}, where the server's socket belongs, is not ours (uid {status.st_uid}); "
            "remove it, or set TIEBREAK_HOME to a folder with a shorter path"
        )
    path.chmod(0o700)
    os.chown(path, identity.owner, identity.group)


def _make(folder: Folder, binaries: Binaries, identity: Identity, *, log: int) -> None:
    fresh = folder.fresh_data
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    os.chown(fresh, identity.owner, identity.group)
    argv = [str(binaries.initdb), "-D", str(fresh), *initdb_options(binaries.major)]
    if _run(argv, fresh, identity, log=log) != 0:
        raise Unavailable(f"initdb failed; {folder.log} says why")
    set_password(folder, fresh, binaries, identity, log=log)
    _single_user(fresh, binaries, identity, [f"CREATE DATABASE {DATABASE} OWNER {ROLE}"], log=log)
    (fresh / "pg_hba.conf").write_text(_HBA)
    if folder.data.exists():
        folder.data.rmdir()
    fresh.rename(folder.data)


def initdb_options(major: int) -> list[str]:
    """How a cluster is made: checksums, UTF-8 sorted by code point, no way in until pg_hba.conf says so."""
    arguments = [f"--username={ROLE}", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"]
    arguments += ["--auth=reject", "--lc-messages=C", "--no-instructions"]
    if major >= _BUILTIN_LOCALE_MAJOR:
        # Sorts the same on every machine and under every C library.
        arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return arguments


def set_password(folder: Folder, data: Path, binaries: Binaries, identity: Identity, *, log: int) -> None:
    """Give the role a fresh password, also when the file with the old one was lost."""
    password = folder.new_password()
    try:
        _single_user(data, binaries, identity, [f"ALTER ROLE {ROLE} PASSWORD '{password}'"], log=log)
    except Unavailable:
        folder.password.unlink()
        raise


def _single_user(
    data: Path, binaries: Binaries, identity: Identity, statements: Sequence[str], *, log: int
) -> None:
    """Run statements before anybody can connect. The text is ours: no value from outside comes here."""
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "w") as pipe:
            pipe.writelines(f"{statement};\n" for statement in statements)
        argv = [str(binaries.postgres), "--single", "-D", str(data), "-c", "exit_on_error=on"]
        argv += ["-c", "password_encryption=scram-sha-256", "postgres"]
        if _run(argv, data, identity, log=log, stdin=reader) != 0:
            raise Unavailable(f"the server could not be set up; the log beside {data} says why")
    finally:
        os.close(reader)


def _run(argv: Sequence[str], cwd: Path, identity: Identity, *, log: int, stdin: int | None = None) -> int:
    devnull = os.open(os.devnull, os.O_RDONLY)
    try:
        command = Command(argv, cwd, environment(), log, devnull if stdin is None else stdin, signal.SIGTERM)
        pid = spawn(identity, command)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(devnull)
