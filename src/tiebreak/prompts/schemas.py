"""What the API takes and shows of prompts."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tiebreak.infrastructure.rest.text import storable
from tiebreak.prompts.model import PromptVersion

NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"

Template = Annotated[str, Field(max_length=200_000), AfterValidator(storable)]


class PromptContent(BaseModel):
    """What a version of a prompt says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: Template = Field(
        description="The user message: text with `{{ variables }}`, in the part of Jinja2 that prompts may use",
        examples=["Solve this. End with a line `A: <number>`.\n\n{{ question }}"],
    )
    system: Template | None = Field(
        default=None, description="The system message, likewise", examples=["You are careful with numbers."]
    )


class NewPrompt(PromptContent):
    """A prompt with its first version."""

    name: str = Field(pattern=NAME, examples=["solve"])


class PromptDocument(BaseModel):
    """A prompt in one of its versions."""

    id: UUID = Field(description="Of this version")
    name: str = Field(examples=["solve"])
    version: int = Field(examples=[2])
    template: str
    system: str | None
    variables: list[str] = Field(
        description="What an item must have for this prompt", examples=[["question"]]
    )
    created_at: datetime

    @classmethod
    def of(cls, version: PromptVersion) -> "PromptDocument":
        """How the API shows a version."""
        return cls(
            id=version.id,
            name=version.prompt,
            version=version.version,
            template=version.template,
            system=version.system,
            variables=sorted(version.variables),
            created_at=version.created_at,
        )


class PromptListed(BaseModel):
    """A prompt in a list: its latest version without the texts."""

    name: str
    version: int = Field(description="The latest")
    variables: list[str]
    created_at: datetime = Field(description="When the latest version came")

    @classmethod
    def of(cls, version: PromptVersion) -> "PromptListed":
        """How a list shows a prompt."""
        return cls(
            name=version.prompt,
            version=version.version,
            variables=sorted(version.variables),
            created_at=version.created_at,
        )
