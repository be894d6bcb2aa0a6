"""Which column of a file means what. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tiebreak.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The columns the user names; None stands for the column of that name, if there is one."""

    id: str | None = None
    expected: str | None = None
    category: str | None = None
    difficulty: str | None = None


@dataclass(frozen=True, slots=True)
class Roles:
    """What each column of a file is; None where the file has no such column. All others are inputs."""

    id: str | None
    expected: str | None
    category: str | None
    difficulty: str | None
    inputs: tuple[str, ...]


def roles(mapping: ColumnMapping, names: Sequence[str]) -> Roles:
    """Give every column of a file its role.

    `answer` is the expected text where neither the mapping nor a column `expected` says otherwise.

    Raises:
        InvalidInput: a mapped column is missing or mapped twice, or no column is left as an input.
    """
    named = {role: column for role, column in asdict(mapping).items() if column is not None}
    for role, column in named.items():
        if column not in names:
            raise InvalidInput(
                f"no column {column!r}, which `{role}` is mapped to; the file has: {', '.join(names)}"
            )
    twice = [column for column, count in Counter(named.values()).items() if count > 1]
    if twice:
        raise InvalidInput(f"column {twice[0]!r} is mapped twice; a column has one role")

    def found(role: str, *defaults: str) -> str | None:
        free = [name for name in defaults if name in names and name not in named.values()]
        return named.get(role) or next(iter(free), None)

    identifier, category, difficulty = (found(role, role) for role in ("id", "category", "difficulty"))
    expected = found("expected", "expected", "answer")
    special = {identifier, expected, category, difficulty}
    inputs = tuple(name for name in names if name not in special)
    if not inputs:
        raise InvalidInput(
            f"no column is left as an input: the file has {', '.join(names)}, all of them with another role"
        )
    return Roles(identifier, expected, category, difficulty, inputs)
