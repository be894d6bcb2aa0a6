"""A prompt in one of its versions."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """Never changes once stored. `system` and `template` are both templates; `variables` are what they need together."""

    id: UUID
    prompt_id: UUID
    prompt: str  # its name
    version: int  # from one
    system: str | None
    template: str
    variables: frozenset[str]
    created_at: datetime
