"""Accounts from a YAML or JSON file: the schema of the API, with keys named by environment variable. Pure."""

from functools import cache
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tiebreak.infrastructure.documents.reading import Source
from tiebreak.providers.schemas import MODEL, ModelPut, ProviderDescription

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$", examples=["OPENAI_API_KEY"])]


class AccountEntry(ProviderDescription):
    """An account as a file describes it, with its models' prices."""

    api_key_env: Variable | None = Field(
        default=None, description="The environment variable that holds the API key"
    )
    proxy_env: Variable | None = Field(
        default=None, description="The environment variable that holds the proxy's URL, if it has a password"
    )
    models: dict[Annotated[str, Field(pattern=MODEL)], ModelPut] = Field(
        default_factory=dict,
        max_length=1000,
        examples=[{"gpt-5-mini": {"input_price": 0.25, "output_price": 2}}],
    )

    @model_validator(mode="after")
    def _one_proxy(self) -> Self:
        if self.proxy is not None and self.proxy_env is not None:
            raise ValueError("give `proxy` or `proxy_env`, not both")
        return self


class AccountsFile(BaseModel):
    """Every account of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    providers: list[AccountEntry] = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [account.name for account in self.providers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"provider {twice[0]!r} is described twice")
        return self


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of such a file."""
    return AccountsFile.model_json_schema()


def accounts(source: Source) -> tuple[AccountEntry, ...]:
    """The accounts that a file describes.

    Raises:
        InvalidInput: with line and column of each fault.
    """
    return tuple(source.validated(AccountsFile, schema()).providers)
