"""Use cases of prompts. Functions take an open transaction; the caller commits."""

import hashlib
import json
import re
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.errors import Conflict, Fault, InvalidInput, NotFound
from tiebreak.prompts import store
from tiebreak.prompts.model import PromptVersion
from tiebreak.prompts.template import variables

_REFERENCE = re.compile(r"(?P<name>[a-z0-9][a-z0-9_.-]{0,63})(@(?P<version>[1-9][0-9]{0,8}))?")


def content_hash(system: str | None, template: str) -> str:
    """SHA-256, in hexadecimal, of what makes two versions the same."""
    return hashlib.sha256(json.dumps([system, template]).encode()).hexdigest()


def needed(system: str | None, template: str) -> frozenset[str]:
    """The variables both texts need together.

    Raises:
        InvalidInput: one of them is not a template; the fault's pointer says which.
    """
    names: frozenset[str] = frozenset()
    for field, text in (("template", template), ("system", system)):
        if text is None:
            continue
        try:
            names |= variables(text)
        except InvalidInput as exc:
            faults = [Fault(f"/{field}", f.message, line=f.line, column=f.column) for f in exc.faults]
            raise InvalidInput(f"{field}: {exc.detail}", faults=faults) from exc
    return names


async def create(
    tx: AsyncConnection, name: str, *, template: str, system: str | None = None
) -> PromptVersion:
    """A new prompt with its first version.

    Raises:
        Conflict: the name is taken.
        InvalidInput: a text is not a template.
    """
    names = needed(system, template)
    prompt_id = await store.insert_prompt(tx, name)
    if prompt_id is None:
        raise Conflict(f"there is a prompt {name!r} already; add a version to it, or take another name")
    await store.insert_version(
        tx,
        prompt_id,
        version=1,
        system=system,
        template=template,
        variables=names,
        content_hash=content_hash(system, template),
    )
    return await get(tx, name)


async def add_version(
    tx: AsyncConnection, name: str, *, template: str, system: str | None = None
) -> PromptVersion:
    """The version with this content: a new one, or the latest when it says the same already.

    Raises:
        NotFound: no such prompt.
        InvalidInput: a text is not a template.
    """
    names = needed(system, template)
    prompt_id = await store.lock_prompt(tx, name)
    if prompt_id is None:
        raise _unknown(name)
    version, latest = await store.latest_hash(tx, prompt_id)
    digest = content_hash(system, template)
    if digest != latest:
        await store.insert_version(
            tx,
            prompt_id,
            version=version + 1,
            system=system,
            template=template,
            variables=names,
            content_hash=digest,
        )
    return await get(tx, name)


async def get(tx: AsyncConnection, name: str, version: int | None = None) -> PromptVersion:
    """One version of a prompt, the latest when none is named.

    Raises:
        NotFound: no such prompt or version.
    """
    found = await store.find(tx, name, version)
    if found is not None:
        return found
    latest = None if version is None else await store.find(tx, name, None)
    if latest is None:
        raise _unknown(name)
    raise NotFound(f"prompt {name!r} has no version {version}; the latest is {latest.version}")


async def resolve(tx: AsyncConnection, reference: str) -> PromptVersion:
    """What `name` (the latest version) or `name@version` stands for.

    Raises:
        InvalidInput: not a reference.
        NotFound: nothing has that name or number.
    """
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        raise InvalidInput(f"{reference!r} is not a prompt; write `name`, or `name@version`")
    return await get(tx, parts["name"], int(parts["version"]) if parts["version"] else None)


async def list_page(tx: AsyncConnection, limit: int, after: UUID | None) -> list[PromptVersion]:
    """Up to `limit + 1` prompts, oldest first, each in its latest version; `after` is a prompt's id."""
    return await store.list_latest(tx, limit, after)


async def list_versions(
    tx: AsyncConnection, name: str, limit: int, after: UUID | None
) -> list[PromptVersion]:
    """Up to `limit + 1` versions of a prompt, oldest first; `after` is a version's id.

    Raises:
        NotFound: no such prompt.
    """
    await get(tx, name)
    return await store.list_versions(tx, name, limit, after)


async def delete(tx: AsyncConnection, name: str) -> None:
    """Remove a prompt. Runs keep the text they were started with.

    Raises:
        NotFound: no such prompt.
    """
    if not await store.delete_prompt(tx, name):
        raise _unknown(name)


def _unknown(name: str) -> NotFound:
    return NotFound(f"no prompt {name!r}; `tiebreak prompt list` shows what there is")
