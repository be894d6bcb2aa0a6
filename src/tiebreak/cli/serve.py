"""`tiebreak serve`: the server, until Ctrl-C."""

import argparse
import sys

from tiebreak.infrastructure.connections.private_postgres import resolve_home
from tiebreak.infrastructure.connections.private_postgres.folder import Folder
from tiebreak.settings import Settings
from tiebreak.supervisor import serve
from tiebreak.supervisor.tether import leave_with_parent


def configure(parser: argparse.ArgumentParser) -> None:
    """Where to listen."""
    parser.add_argument("--host", help="beyond loopback only with API keys (TIEBREAK_HOST; 127.0.0.1)")
    parser.add_argument("--port", type=port, help="0 takes a free one (TIEBREAK_PORT; 8321)")
    parser.add_argument(
        "--workers", type=workers, help="request workers (TIEBREAK_WORKERS; one for each core, at most 4)"
    )
    parser.add_argument("--tether", type=int, help=argparse.SUPPRESS)  # what `demo --serve` passes


def port(text: str) -> int:
    """A port number, for argparse."""
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is no port; there are 0 to 65535")
    return number


def workers(text: str) -> int:
    """A number of workers, for argparse."""
    number = int(text)
    if not 1 <= number <= 64:
        raise argparse.ArgumentTypeError(f"{number} workers cannot be; there are 1 to 64")
    return number


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    if options.tether is not None:
        leave_with_parent(options.tether)
    settings = Settings.read()
    chosen = {"host": options.host, "port": options.port, "workers": options.workers}
    settings = settings.model_copy(
        update={name: value for name, value in chosen.items() if value is not None}
    )
    home = resolve_home(settings.home)
    Folder(home).create()

    def ready(url: str) -> None:
        print(f"Tiebreak on {url} (data in {home}; Ctrl-C stops it)")
        sys.stdout.flush()

    return serve.serve(settings, home, on_ready=ready)
