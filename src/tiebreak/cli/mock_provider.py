"""`tiebreak mock-provider`: a vendor on loopback that says what it is."""

import argparse
from pathlib import Path

from tiebreak.mockprovider import server
from tiebreak.mockprovider.config import MockOptions


def configure(parser: argparse.ArgumentParser) -> None:
    """What it serves, and how."""
    parser.add_argument(
        "--models", type=Path, metavar="FILE", help="models: simulated ones, recorded ones, faults (YAML)"
    )
    parser.add_argument(
        "--questions", type=Path, metavar="FILE", help="JSONL of {id, question, …} to look answers up in"
    )
    parser.add_argument(
        "--recorded", type=Path, metavar="FILE", help="JSONL of {id, model, text}: every model in it"
    )
    parser.add_argument("--host", default="127.0.0.1", help="loopback only")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--delay-ms", type=float, metavar="MS", help="a fixed delay instead of the models' own"
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="a JSON line for every call")
    parser.add_argument("--api-key", metavar="KEY", help="refuse calls without it")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="serve TLS with this certificate (PEM)")
    parser.add_argument(
        "--tls-key", type=Path, metavar="FILE", help="its private key (PEM), unless it is in the same file"
    )
    parser.add_argument("--seed", type=int, help="of everything simulated, instead of the file's")


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    return server.run(
        MockOptions(
            models=options.models,
            questions=options.questions,
            recorded=options.recorded,
            host=options.host,
            port=options.port,
            delay_ms=options.delay_ms,
            log=options.log,
            api_key=options.api_key,
            seed=options.seed,
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
        )
    )
