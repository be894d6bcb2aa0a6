"""`tiebreak provider apply`: accounts as a file describes them, created or brought to what it says."""

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tiebreak.cli.connection import Connection
from tiebreak.cli.files import bytes_of
from tiebreak.errors import Conflict, Fault, InvalidInput, NotFound
from tiebreak.infrastructure.documents.reading import Source
from tiebreak.infrastructure.rest.text import pointer
from tiebreak.providers.documents import AccountEntry, accounts
from tiebreak.providers.presets import split
from tiebreak.providers.schemas import ModelPut

# They go in and never come out, so nobody can tell whether they are the same.
_SEALED = ("api_key", "proxy")
_PRICES = ("input_price", "output_price", "cached_input_price")


async def apply_file(
    api: Connection, file: Path, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[dict[str, Any]]:
    """What is done for each account of the file, in its order. What the file does not say stays as it is.

    Raises:
        InvalidInput: with line and column; the accounts before the faulty one are applied, those after it are not.
    """
    source = Source(bytes_of(file), name=str(file))
    entries = accounts(source)
    if empty := list(_empty_variables(entries, environ)):
        raise source.invalid(empty)
    for place, entry in enumerate(entries):
        at = pointer("providers", place)
        try:
            done = await _apply(api, entry, environ)
        except (InvalidInput, Conflict) as exc:
            faults = exc.faults or [Fault("", exc.detail)]
            raise source.invalid([Fault(at + fault.pointer, fault.message) for fault in faults]) from exc
        yield done


def _empty_variables(entries: Sequence[AccountEntry], environ: Mapping[str, str]) -> Iterable[Fault]:
    for place, entry in enumerate(entries):
        for field in ("api_key_env", "proxy_env"):
            name = getattr(entry, field)
            if name is not None and not environ.get(name, "").strip():
                message = f"the environment variable {name} is empty; export it before"
                yield Fault(pointer("providers", place, field), message)


async def _apply(api: Connection, entry: AccountEntry, environ: Mapping[str, str]) -> dict[str, Any]:
    path = f"/providers/{quote(entry.name, safe='')}"
    said = _said(entry, environ)
    try:
        shown = await api.get(path)
    except NotFound:
        new = {"name": entry.name, "preset": entry.preset, "dialect": entry.dialect, **said}
        await api.send("POST", "/providers", new)
        action, fields = "created", [*said]
    else:
        _require_same_dialect(entry, shown)
        patch = _difference(said, shown)
        if patch:
            await api.send("PATCH", path, patch)
        fields = [*patch]
        action = "changed" if set(fields) - set(_SEALED) else "unchanged"
    prices = [name for name, price in entry.models.items() if await _put_price(api, path, name, price)]
    return {
        "name": entry.name,
        "action": "changed" if prices and action == "unchanged" else action,
        "fields": fields,
        "prices": prices,
    }


def _said(entry: AccountEntry, environ: Mapping[str, str]) -> dict[str, Any]:
    """What the file says of an account, as a PATCH takes it."""
    plain = {"base_url": entry.base_url, "concurrency": entry.concurrency}
    said: dict[str, Any] = {name: value for name, value in plain.items() if value is not None}
    said |= {**entry.service(), **entry.route()}
    if entry.proxy_env is not None:
        said["proxy"] = environ[entry.proxy_env].strip()
    if entry.api_key_env is not None:
        said["api_key"] = environ[entry.api_key_env].strip()
    return said


def _require_same_dialect(entry: AccountEntry, shown: Mapping[str, Any]) -> None:
    if split(entry.stored_dialect) == (shown["dialect"], shown["preset"]):
        return
    field = "preset" if entry.preset is not None else "dialect"
    message = (
        f"provider {entry.name!r} speaks {shown['preset'] or shown['dialect']}, and that does not change; "
        f"remove it first (`tiebreak provider remove {entry.name}`), or take another name"
    )
    raise InvalidInput(message, faults=[Fault(f"/{field}", message)])


def _difference(said: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is said, that which is not so yet, and what cannot be compared."""
    patch = {}
    for field, value in said.items():
        if field == "api_key":
            same = False
        elif field == "proxy":
            same = value is None and not shown["has_proxy"]
        elif field == "batch_config":
            same = shown[field] | value == shown[field]
        elif field == "base_url":
            same = value.rstrip("/") == shown[field]
        else:
            same = value == shown[field]
        if not same:
            patch[field] = value
    return patch


async def _put_price(api: Connection, path: str, model: str, wanted: ModelPut) -> bool:
    """Whether the price was another one."""
    path = f"{path}/models/{quote(model, safe='/')}"
    shown = await api.get(path)
    if _is_priced(wanted, shown["prices"]):
        return False
    try:
        await api.send("PUT", path, wanted.model_dump(mode="json", exclude_none=True))
    except InvalidInput as exc:
        at = pointer("models", model)
        raise InvalidInput(
            exc.detail, faults=[Fault(at + fault.pointer, fault.message) for fault in exc.faults]
        ) from exc
    return True


def _is_priced(wanted: ModelPut, own: Sequence[Mapping[str, Any]]) -> bool:
    values = [getattr(wanted, field) for field in _PRICES]
    if values == [None, None, None]:
        return not own and wanted.valid_from is None
    for price in own:
        since = price["valid_from"] and datetime.fromisoformat(price["valid_from"])
        if since == wanted.valid_from:
            kept = [None if value is None else round(value, 9) for value in values]
            return kept == [price[field] for field in _PRICES]
    return False


def told(done: Mapping[str, Any]) -> str:
    """One account's line."""
    fields = [field for field in done["fields"] if field not in _SEALED]
    again = [field for field in done["fields"] if field in _SEALED]
    said = [f"{done['name']}: {done['action']}"]
    if done["action"] == "changed" and fields:
        said[0] += f" {', '.join(fields)}"
    if done["action"] != "created" and again:
        said.append(f"{' and '.join(again)} entered again")
    if done["prices"]:
        said.append(f"prices of {', '.join(done['prices'])}")
    return "; ".join(said)
