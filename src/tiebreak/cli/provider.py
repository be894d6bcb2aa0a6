"""`tiebreak provider`: accounts at vendors, their models and prices."""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tiebreak.cli import provider_reports
from tiebreak.cli.connection import Connection, converse
from tiebreak.cli.entry import add_global
from tiebreak.cli.output import Column, key, print_fields, print_table, printable, show
from tiebreak.errors import InvalidInput

EXIT_VENDOR = 3
_ROUTE = ("proxy", "ca-bundle", "client-certificate", "client-key")


def configure(parser: argparse.ArgumentParser) -> None:
    """`list`, `add`, `show`, `set`, `apply`, `test`, `models`, `price`, `health`, `usage`, `remove`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_global(actions.add_parser("list", help="every account"))
    applied = actions.add_parser("apply", help="create or change accounts as a YAML file describes them")
    applied.add_argument("file", type=Path, help="YAML or JSON; docs/providers.md shows one")
    add_global(applied)
    for name, summary in (
        ("add", "an account at a vendor, by preset or base URL"),
        ("show", "one account, without its key"),
        ("set", "change an account; what is not named stays"),
        ("test", "call the vendor once, for real"),
        ("models", "the models you gave prices for"),
        ("price", "what a model costs you; without prices, what counts now"),
        ("usage", "calls, tokens and cost by day and model"),
        ("remove", "the account with its key and prices"),
    ):
        action = actions.add_parser(name, help=summary)
        action.add_argument("name", help="as tests write it: name/model")
        add_global(action)
    _account(actions.choices["add"], new=True)
    _account(actions.choices["set"], new=False)
    actions.choices["test"].add_argument(
        "--model", help="ask this model for one token; else for the list of models"
    )
    health = actions.add_parser("health", help="whether a vendor answers: breakers, latency, failures")
    health.add_argument("name", nargs="?", help="one provider in detail; else a row for each")
    add_global(health)
    actions.choices["usage"].add_argument(
        "--days", type=int, default=30, metavar="N", help="1 to 90, today among them, in UTC (default 30)"
    )
    price = actions.choices["price"]
    price.add_argument("model")
    price.add_argument("--input", type=float, metavar="USD", help="US dollars per million tokens in")
    price.add_argument("--output", type=float, metavar="USD", help="US dollars per million tokens out")
    price.add_argument(
        "--cached-input",
        type=float,
        metavar="USD",
        help="per million tokens that the vendor read from its cache",
    )
    price.add_argument(
        "--from",
        dest="valid_from",
        metavar="DATE",
        help="since when: a day (from midnight UTC) or a moment with its zone; without it, since ever",
    )
    price.add_argument(
        "--forget", action="store_true", help="use the list price again; with --from, forget that date only"
    )


def _account(parser: argparse.ArgumentParser, *, new: bool) -> None:
    if new:
        # Names are checked by the server, so that help does not load the list.
        parser.add_argument(
            "--preset",
            metavar="NAME",
            help="a known vendor: anthropic, gemini, groq, mistral, ollama, openai, …",
        )
        parser.add_argument(
            "--dialect",
            metavar="NAME",
            help="what is spoken at --base-url: openai_compatible (default), openai, openai_responses, anthropic, "
            "gemini, azure_openai",
        )
    parser.add_argument("--base-url", metavar="URL", help="where the vendor is; a preset knows")
    # Never the key itself: arguments are visible to every process and stay in the shell's history.
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--key-env", metavar="VARIABLE", help="the environment variable that holds the API key"
    )
    source.add_argument("--key-stdin", action="store_true", help="read the API key from standard input")
    if not new:
        source.add_argument("--forget-key", action="store_true", help="remove the stored key")
        parser.add_argument(
            "--forget",
            action="append",
            default=[],
            choices=_ROUTE,
            help="remove this part of the way to the vendor; may be given several times",
        )
    parser.add_argument("--concurrency", type=int, metavar="N", help="calls at once, in each process")
    parser.add_argument("--timeout-seconds", type=float, metavar="S", help="for one attempt")
    parser.add_argument("--max-retries", type=int, metavar="N", help="after the first attempt of a call")
    parser.add_argument("--max-batch-size", type=int, metavar="N", help="calls that go together; 1: none do")
    parser.add_argument("--batch-timeout-ms", type=int, metavar="MS", help="waited for others to go with")
    parser.add_argument(
        "--cache",
        dest="cache_enabled",
        action=argparse.BooleanOptionalAction,
        help="keep answers to deterministic requests outside tests",
    )
    parser.add_argument("--cache-ttl-seconds", type=int, metavar="S", help="for how long an answer is kept")
    _route(parser)


def _route(parser: argparse.ArgumentParser) -> None:
    proxy = parser.add_mutually_exclusive_group()
    proxy.add_argument("--proxy", metavar="URL", help="http://host:port; with a password, --proxy-env")
    proxy.add_argument(
        "--proxy-env", metavar="VARIABLE", help="the environment variable that holds the proxy's URL"
    )
    parser.add_argument(
        "--ca-bundle", metavar="FILE", help="PEM: whom to trust, instead of the system's authorities"
    )
    parser.add_argument("--client-certificate", metavar="FILE", help="PEM: the client's own certificate")
    parser.add_argument("--client-key", metavar="FILE", help="PEM: its key, if that is in a file of its own")


def run(options: argparse.Namespace) -> int:
    """Do one of them."""
    actions = {
        "list": list_providers,
        "add": add,
        "show": show_provider,
        "set": change,
        "apply": apply,
        "test": test,
        "models": models,
        "price": price,
        "health": provider_reports.health,
        "usage": provider_reports.usage,
        "remove": remove,
    }
    return converse(options, lambda api: actions[options.action](options, api))


async def list_providers(options: argparse.Namespace, api: Connection) -> int:
    """A row for each."""
    rows = [row async for row in api.pages("/providers")]
    columns = [
        key("name"),
        Column("dialect", lambda row: row["preset"] or row["dialect"]),
        key("base_url"),
        key("has_secret", "key"),
        key("concurrency", right=True),
        key("max_retries", right=True),
    ]
    return show(
        options,
        rows,
        lambda: print_table(columns, rows, empty="no providers; `tiebreak provider add` adds one"),
    )


async def add(options: argparse.Namespace, api: Connection) -> int:
    """Store an account."""
    document = await api.send("POST", "/providers", {"name": options.name, **_described(options)})
    return show(
        options,
        document,
        lambda: print(f"{document['name']} is stored; `tiebreak provider test {document['name']}`"),
    )


async def show_provider(options: argparse.Namespace, api: Connection) -> int:
    """All but the key."""
    document = await api.get(_path(options))
    return show(options, document, lambda: print_fields(_flat(document)))


async def change(options: argparse.Namespace, api: Connection) -> int:
    """What was named."""
    described = _described(options)
    if not described:
        raise InvalidInput(
            "nothing to change; name at least one of --base-url, --key-env, --key-stdin, --concurrency …"
        )
    document = await api.send("PATCH", _path(options), described)
    return show(options, document, lambda: print_fields(_flat(document)))


async def apply(options: argparse.Namespace, api: Connection) -> int:
    """A line for each account of the file."""
    from tiebreak.cli import accounts  # the API's schemas come along; only this command needs them

    done = []
    async for one in accounts.apply_file(api, options.file):
        done.append(one)
        if not options.json:
            print(accounts.told(one))  # at once: a fault may come after it
    return show(options, done, lambda: None)


async def test(options: argparse.Namespace, api: Connection) -> int:
    """Exit code 3 when the vendor does not answer as it should."""
    document = await api.send(
        "POST", f"{_path(options)}/test", {"model": options.model} if options.model else {}
    )
    word = "ok" if document["ok"] else "failed"
    show(
        options,
        document,
        lambda: print(f"{word} in {document['latency_ms']:.0f} ms: {printable(document['detail'])}"),
    )
    return 0 if document["ok"] else EXIT_VENDOR


async def models(options: argparse.Namespace, api: Connection) -> int:
    """A row for each price."""
    rows = [row async for row in api.pages(f"{_path(options)}/models")]
    return show(
        options,
        rows,
        lambda: print_table(
            _PRICES,
            [price for row in rows for price in _dated(row)],
            empty="no prices of your own; list prices count",
        ),
    )


async def price(options: argparse.Namespace, api: Connection) -> int:
    """Set, forget, or only show."""
    path = f"{_path(options)}/models/{quote(options.model, safe='/')}"
    given = {
        "input_price": options.input,
        "output_price": options.output,
        "cached_input_price": options.cached_input,
        "valid_from": options.valid_from,
    }
    if options.forget:
        await api.send("DELETE", path, valid_from=options.valid_from)
    elif options.input is not None and options.output is not None:
        await api.send("PUT", path, given)
    elif any(value is not None for value in given.values()):
        raise InvalidInput(
            "a price has two parts: give both --input and --output, in US dollars per million tokens"
        )
    document = await api.get(path)
    return show(options, document, lambda: print_table(_PRICES, _dated(document), empty=""))


async def remove(options: argparse.Namespace, api: Connection) -> int:
    """For good."""
    await api.send("DELETE", _path(options))
    return show(options, {"removed": options.name}, lambda: print(f"{options.name} is removed"))


def _dated(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each own price, and one for the list's where that counts now."""
    own = [{**price, "source": "yours"} for price in model["prices"]]
    if model["source"] != "override":
        source = "unknown" if model["source"] is None else "price list"
        own.insert(0, {name: model[name] for name in _SHOWN} | {"valid_from": None, "source": source})
    else:
        for price in own:
            price["now"] = price["valid_from"] == model["valid_from"]
    return [{"now": place == 0, **price, "name": model["name"]} for place, price in enumerate(own)]


_SHOWN = ("input_price", "output_price", "cached_input_price")
_PRICES = [
    key("name", "model"),
    key("input_price", "$ per M in", right=True),
    key("cached_input_price", "cached", right=True),
    key("output_price", "$ per M out", right=True),
    # A day is a moment at midnight UTC.
    Column("from", lambda row: (row["valid_from"] or "").removesuffix("T00:00:00Z")),
    key("now"),
    key("source"),
]


def _flat(document: Mapping[str, Any]) -> list[tuple[str, object]]:
    """The fields of a provider, those of its batches among them."""
    fields: list[tuple[str, object]] = []
    for name, value in document.items():
        fields += value.items() if isinstance(value, dict) else [(name, value)]
    return fields


def _path(options: argparse.Namespace) -> str:
    return f"/providers/{quote(options.name, safe='')}"


_ACCOUNT = (
    *("preset", "dialect", "base_url", "concurrency", "timeout_seconds", "max_retries"),
    *("cache_enabled", "cache_ttl_seconds", "proxy", "ca_bundle", "client_certificate", "client_key"),
)


def _described(options: argparse.Namespace) -> dict[str, Any]:
    described = _given(options, _ACCOUNT)
    if batch := _given(options, ("max_batch_size", "batch_timeout_ms")):
        described["batch_config"] = batch
    if options.proxy_env is not None:
        described["proxy"] = _from_environment(options.proxy_env, "the proxy's URL")
    described |= dict.fromkeys(name.replace("-", "_") for name in getattr(options, "forget", ()))
    if options.key_env is not None:
        described["api_key"] = _from_environment(options.key_env, "the API key")
    elif options.key_stdin:
        described["api_key"] = sys.stdin.readline().strip()
    elif getattr(options, "forget_key", False):
        described["api_key"] = None
    return described


def _given(options: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    given = {name: getattr(options, name, None) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def _from_environment(variable: str, what: str) -> str:
    if not os.environ.get(variable):
        raise InvalidInput(f"the environment variable {variable} is empty; export {what} in it")
    return os.environ[variable].strip()
