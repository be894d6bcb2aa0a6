"""SQL over prompts and their versions. The names of the queries say what they are for; nothing here commits."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, delete, select
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.ids import new_id
from tiebreak.prompts.model import PromptVersion
from tiebreak.prompts.tables import prompt_versions, prompts


def _version(row: Row[Any]) -> PromptVersion:
    return PromptVersion(
        id=row.id,
        prompt_id=row.prompt_id,
        prompt=row.name,
        version=row.version,
        system=row.system,
        template=row.template,
        variables=frozenset(row.variables),
        created_at=row.created_at,
    )


def _versions() -> Select[Any]:
    return select(prompts.c.name, prompt_versions).join_from(
        prompt_versions, prompts, prompts.c.id == prompt_versions.c.prompt_id
    )


async def insert_prompt(tx: AsyncConnection, name: str) -> UUID | None:
    """The new prompt's id, or None when the name is taken; decided by the index, so also between two at once."""
    made = (
        insert(prompts)
        .values(id=new_id(), name=name)
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(prompts.c.id)
    )
    prompt_id: UUID | None = await tx.scalar(made)
    return prompt_id


async def lock_prompt(tx: AsyncConnection, name: str) -> UUID | None:
    """The prompt's id, its row locked, so that two new versions at once get two numbers."""
    found = select(prompts.c.id).where(prompts.c.name == name).with_for_update()
    prompt_id: UUID | None = await tx.scalar(found)
    return prompt_id


async def insert_version(
    tx: AsyncConnection,
    prompt_id: UUID,
    *,
    version: int,
    system: str | None,
    template: str,
    variables: frozenset[str],
    content_hash: str,
) -> None:
    """Store one more version."""
    await tx.execute(
        insert(prompt_versions).values(
            id=new_id(),
            prompt_id=prompt_id,
            version=version,
            system=system,
            template=template,
            variables=sorted(variables),
            content_hash=content_hash,
        )
    )


async def latest_hash(tx: AsyncConnection, prompt_id: UUID) -> tuple[int, str]:
    """Number and content hash of the latest version; a prompt always has one."""
    found = (
        select(prompt_versions.c.version, prompt_versions.c.content_hash)
        .where(prompt_versions.c.prompt_id == prompt_id)
        .order_by(prompt_versions.c.version.desc())
        .limit(1)
    )
    row = (await tx.execute(found)).one()
    return row.version, row.content_hash


async def find(tx: AsyncConnection, name: str, version: int | None) -> PromptVersion | None:
    """One version by number, or the latest."""
    found = _versions().where(prompts.c.name == name)
    if version is not None:
        found = found.where(prompt_versions.c.version == version)
    row = (await tx.execute(found.order_by(prompt_versions.c.version.desc()).limit(1))).one_or_none()
    return None if row is None else _version(row)


async def list_latest(tx: AsyncConnection, limit: int, after: UUID | None) -> list[PromptVersion]:
    """One more than `limit` prompts by age, each in its latest version."""
    newest = (
        _versions()
        .ext(distinct_on(prompt_versions.c.prompt_id))
        .order_by(prompt_versions.c.prompt_id, prompt_versions.c.version.desc())
        .limit(limit + 1)
    )
    if after is not None:
        newest = newest.where(prompt_versions.c.prompt_id > after)
    return [_version(row) for row in await tx.execute(newest)]


async def list_versions(
    tx: AsyncConnection, name: str, limit: int, after: UUID | None
) -> list[PromptVersion]:
    """One more than `limit` versions of a prompt by age."""
    found = _versions().where(prompts.c.name == name).order_by(prompt_versions.c.id).limit(limit + 1)
    if after is not None:
        found = found.where(prompt_versions.c.id > after)
    return [_version(row) for row in await tx.execute(found)]


async def delete_prompt(tx: AsyncConnection, name: str) -> bool:
    """Remove a prompt with all its versions; False when there is none."""
    return (await tx.execute(delete(prompts).where(prompts.c.name == name))).rowcount > 0
