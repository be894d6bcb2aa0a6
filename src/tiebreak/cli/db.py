"""`tiebreak db`: the schema of the database, and its dumps."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiebreak import migrations
from tiebreak.cli.entry import add_global
from tiebreak.cli.output import print_fields, show
from tiebreak.errors import InvalidInput
from tiebreak.infrastructure.connections.private_postgres import PrivatePostgres, backup
from tiebreak.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """`status`, `migrate`, `dump` and `restore`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, summary in (
        ("status", "which revision the database stands at, and which this version needs"),
        ("migrate", "bring the database to this version's revision"),
    ):
        add_global(actions.add_parser(name, help=summary))
    for name, summary in (
        ("dump", "write the whole database to a new file"),
        ("restore", "replace the database with a dump: all of it or nothing"),
    ):
        action = actions.add_parser(name, help=summary)
        action.add_argument("file", type=Path)
        add_global(action)


def run(options: argparse.Namespace) -> int:
    """Do it, and say where the database stands."""
    if options.url is not None:
        raise InvalidInput("`tiebreak db` works on the database itself: set DATABASE_URL instead of --url")
    with database(Settings.read()) as (dsn, kind):
        if options.action == "migrate":
            migrations.upgrade(dsn)
        elif options.action == "dump":
            backup.dump(dsn, options.file)
        elif options.action == "restore":
            backup.restore(dsn, options.file)
            migrations.upgrade(dsn)  # a dump of an older version
        current, head = migrations.current(dsn), migrations.head()
    document = {"database": kind, "revision": current, "needed": head, "current": current == head}
    return show(options, document, lambda: print_fields(document.items()))


@contextmanager
def database(settings: Settings) -> Iterator[tuple[str, str]]:
    """The database's URL and whose it is, held open meanwhile."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value(), "DATABASE_URL"
        return
    with PrivatePostgres.open(settings.home) as private:
        yield private.dsn, f"private, in {private.home}"
