"""As whom the server runs: PostgreSQL refuses root, and initdb a uid that passwd does not know.

Root and unknown uids run it in a user namespace that shows them as an account of passwd; the files stay theirs.
Where namespaces are blocked (the usual case in containers), root runs it as `nobody`.
"""

import contextlib
import ctypes
import os
import pwd
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

from tiebreak.errors import Misconfigured

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_OVERFLOW_ID = 65534  # how the kernel shows every id that a namespace does not map


class Way(StrEnum):
    """How the server gets an identity that PostgreSQL accepts."""

    PLAIN = "plain"
    NAMESPACE = "namespace"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Account:
    """A line of passwd."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Identity:
    """`uid` and `gid` are what the server sees of itself; `owner` and `group` what its files have outside."""

    way: Way
    uid: int
    gid: int
    owner: int
    group: int


def choose(*, euid: int, egid: int, accounts: Sequence[Account], namespaces: Callable[[], bool]) -> Identity:
    """Decide as whom to run; `namespaces` says whether a user namespace can be made, and is asked only if need be.

    Raises:
        Misconfigured: no way is open.
    """
    if euid != 0 and any(account.uid == euid for account in accounts):
        return Identity(Way.PLAIN, euid, egid, euid, egid)
    # The overflow id comes last: inside, every foreign file would look like the server's own.
    inner = sorted((account for account in accounts if account.uid != 0), key=lambda a: a.uid == _OVERFLOW_ID)
    if inner and namespaces():
        return Identity(Way.NAMESPACE, inner[0].uid, inner[0].gid, euid, egid)
    if euid != 0:
        raise Misconfigured(
            f"the uid {euid} has no entry in passwd and user namespaces are blocked, so PostgreSQL cannot run as it; "
            "run as a user with an entry, or set DATABASE_URL to a PostgreSQL server"
        )
    nobody = next((account for account in accounts if account.name == "nobody"), None)
    if nobody is None:
        raise Misconfigured(
            "PostgreSQL does not run as root, user namespaces are blocked and passwd has no user nobody; "
            "run as a normal user, or set DATABASE_URL to a PostgreSQL server"
        )
    return Identity(Way.DROP, nobody.uid, nobody.gid, nobody.uid, nobody.gid)


def identify() -> Identity:
    """The identity for this process on this machine. Forks: only for a process with one thread.

    Raises:
        Misconfigured: no way is open.
    """
    euid, egid = os.geteuid(), os.getegid()
    return choose(euid=euid, egid=egid, accounts=_accounts(euid), namespaces=namespaces_work)


def _accounts(euid: int) -> list[Account]:
    entries = pwd.getpwall()
    # A directory service may know a user whom it does not list.
    with contextlib.suppress(KeyError):
        entries.append(pwd.getpwuid(euid))
    return [Account(entry.pw_name, entry.pw_uid, entry.pw_gid) for entry in entries]


def namespaces_work() -> bool:
    """Whether this process may make a user namespace, found by making one in a child."""
    inner = next((account for account in _accounts(0) if account.uid != 0), None)
    if inner is None:
        return False
    identity = Identity(Way.NAMESPACE, inner.uid, inner.gid, os.geteuid(), os.getegid())
    return run_as(identity, lambda: 0) == 0


def run_as(identity: Identity, action: Callable[[], int]) -> int:
    """Run `action` in a child with that identity and give back its exit code; 255 when the identity cannot be had."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            become(identity)
            code = action()
        except OSError:
            pass
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def become(identity: Identity) -> None:
    """Turn this process into that identity, for good.

    Raises:
        OSError: the kernel refuses.
    """
    if identity.way is Way.NAMESPACE:
        uid, gid = os.geteuid(), os.getegid()
        _call("unshare", _CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{identity.uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{identity.gid} {gid} 1")
    elif identity.way is Way.DROP:
        os.setgroups([])
        os.setgid(identity.gid)
        os.setuid(identity.uid)


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start: `output` is the descriptor that takes both its streams."""

    argv: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    output: int
    stdin: int
    death_signal: signal.Signals


def spawn(identity: Identity, command: Command) -> int:
    """Start a program with that identity and give back its pid. It gets `death_signal` when this process dies.

    Only for a process with one thread: the child runs Python between fork and exec, and the signal follows the
    thread that forked.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _exec(identity, command, parent)
    return pid


def _exec(identity: Identity, command: Command, parent: int) -> NoReturn:
    try:
        os.dup2(command.stdin, 0)
        os.dup2(command.output, 1)
        os.dup2(command.output, 2)
        become(identity)
        # After the change of identity, which would clear it.
        _call("prctl", _PR_SET_PDEATHSIG, int(command.death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.umask(0o077)
        os.chdir(command.folder)
        os.execve(command.argv[0], list(command.argv), dict(command.environment))  # noqa: S606 - no shell is wanted
    except OSError as exc:
        os.write(2, f"{command.argv[0]} cannot be started: {exc}\n".encode())
    finally:
        os._exit(127)


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
