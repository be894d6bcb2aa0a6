"""As whom the server runs is decided from who we are and what the machine allows."""

import os
import subprocess
import sys

import pytest

from tiebreak.errors import Misconfigured
from tiebreak.infrastructure.connections.private_postgres.identity import (
    Account,
    Identity,
    Way,
    choose,
)

ROOT = Account("root", 0, 0)
DAEMON = Account("daemon", 1, 1)
NOBODY = Account("nobody", 65534, 65534)
ANN = Account("ann", 1000, 1000)
EVERYBODY = [ROOT, NOBODY, DAEMON, ANN]


def never() -> bool:
    raise AssertionError("asked though it does not matter")


def test_a_known_user_runs_it_as_himself_and_nothing_is_tried():
    assert choose(euid=1000, egid=100, accounts=EVERYBODY, namespaces=never) == Identity(
        Way.PLAIN, 1000, 100, 1000, 100
    )


def test_root_is_shown_as_an_account_of_passwd_and_never_as_the_overflow_id():
    assert choose(euid=0, egid=0, accounts=EVERYBODY, namespaces=lambda: True) == Identity(
        Way.NAMESPACE, 1, 1, 0, 0
    )


def test_the_overflow_id_serves_when_passwd_has_no_other():
    assert choose(euid=0, egid=0, accounts=[ROOT, NOBODY], namespaces=lambda: True).uid == 65534


def test_root_without_namespaces_becomes_nobody_whatever_number_that_is():
    elsewhere = Account("nobody", 99, 98)
    assert choose(euid=0, egid=0, accounts=[ROOT, elsewhere], namespaces=lambda: False) == Identity(
        Way.DROP, 99, 98, 99, 98
    )


@pytest.mark.parametrize("accounts", [[ROOT], [ROOT, DAEMON]])
def test_root_without_namespaces_and_nobody_has_no_way(accounts: list[Account]):
    with pytest.raises(Misconfigured, match="DATABASE_URL"):
        choose(euid=0, egid=0, accounts=accounts, namespaces=lambda: False)


def test_an_unknown_uid_gets_a_namespace():
    assert choose(euid=12345, egid=7, accounts=EVERYBODY, namespaces=lambda: True) == Identity(
        Way.NAMESPACE, 1, 1, 12345, 7
    )


def test_an_unknown_uid_without_namespaces_is_named():
    with pytest.raises(Misconfigured, match=r"uid 12345 .*DATABASE_URL"):
        choose(euid=12345, egid=7, accounts=EVERYBODY, namespaces=lambda: False)


def run(way: str, uid: int, action: str) -> int:
    """What `run_as` gives back in a process with one thread, which is what it is for."""
    program = (
        "import os, sys\n"
        "from tiebreak.infrastructure.connections.private_postgres.identity import Identity, Way, run_as\n"
        f"sys.exit(run_as(Identity(Way.{way}, {uid}, {uid}, {uid}, {uid}), lambda: {action}))"
    )
    return subprocess.run([sys.executable, "-c", program], timeout=30).returncode


def test_a_child_says_how_it_ended():
    assert run("PLAIN", os.geteuid(), "7") == 7


def test_an_identity_that_cannot_be_had_is_255():
    assert run("NAMESPACE", -5, "0") == 255


def test_an_action_that_fails_is_255():
    assert run("PLAIN", os.geteuid(), "os.stat('/nowhere')") == 255


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_becomes_another_without_his_groups():
    assert run("DROP", 65534, "int((os.getuid(), os.getgid(), os.getgroups()) != (65534, 65534, []))") == 0
