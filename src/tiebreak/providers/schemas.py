"""What the API takes and shows of providers. Secrets go in and never come out."""

import re
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from tiebreak.infrastructure.rest.text import Text
from tiebreak.providers.model import PricedModel, Probe, Provider
from tiebreak.providers.presets import COMPATIBLE, PRESETS, split, stored_dialect
from tiebreak.providers.prices import HIGHEST
from tiebreak.providers.service import Changes, NewProvider

NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
MODEL = r"^[^\s\x00-\x1f\x7f]{1,200}$"

BaseUrl = Annotated[
    Text,
    Field(
        max_length=2000,
        examples=["https://api.openai.com/v1"],
        # What `check_url` can be said in; the rest comes with its reason.
        json_schema_extra={"format": "uri", "pattern": r"^https?://[^\s\\?#@]+$"},
    ),
]
_HEADER_SAFE = r"^[!-~]{1,4096}$"


def _sendable(key: SecretStr) -> SecretStr:
    if re.fullmatch(_HEADER_SAFE[1:-1], key.get_secret_value()) is None:
        # The key is not repeated, nor where it is wrong.
        raise ValueError("a key is 1 to 4096 visible ASCII characters, without spaces or line ends")
    return key


def _known(preset: str) -> str:
    if preset not in PRESETS:
        raise ValueError(f"no preset {preset[:64]!r}; there are {', '.join(PRESETS)}")
    return preset


ApiKey = Annotated[SecretStr, AfterValidator(_sendable), Field(json_schema_extra={"pattern": _HEADER_SAFE})]
Dialect = Literal["openai_compatible", "openai", "openai_responses", "anthropic", "gemini", "azure_openai"]
PresetName = Annotated[
    str, AfterValidator(_known), Field(json_schema_extra={"enum": list(PRESETS)}, examples=["groq"])
]
Concurrency = Annotated[int, Field(ge=1, le=10_000, description="Calls at once, in each process")]
Timeout = Annotated[
    float, Field(ge=0.1, le=3600, allow_inf_nan=False, description="Seconds for one attempt, from end to end")
]
Retries = Annotated[int, Field(ge=0, le=10, description="After the first attempt of a call")]
Dollars = Annotated[
    float,
    Field(
        allow_inf_nan=False,
        description="US dollars per million tokens",
        json_schema_extra={"minimum": 0, "maximum": HIGHEST},
    ),
]


class _Taken(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProviderCreate(_Taken):
    """An account at a vendor: a preset, or a base URL with or without the dialect spoken there."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {
                    "required": ["base_url"],
                    "properties": {"base_url": {"type": "string"}, "preset": {"type": "null"}},
                },
                {
                    "required": ["preset"],
                    "properties": {"preset": {"type": "string"}, "dialect": {"type": "null"}},
                },
            ]
        }
    )

    name: str = Field(pattern=NAME, examples=["openai"])
    dialect: Dialect | None = Field(default=None, description="`openai_compatible` unless a preset decides")
    preset: PresetName | None = Field(
        default=None, description="A vendor's dialect, its base URL if none is given, and its quirks"
    )
    base_url: BaseUrl | None = Field(
        default=None, description="Calls append the dialect's paths to it, as /chat/completions"
    )
    api_key: ApiKey | None = Field(
        default=None, description="Kept encrypted, sent to the base URL only, never shown"
    )
    concurrency: Concurrency = 64
    timeout_seconds: Timeout = 60.0
    max_retries: Retries = 2

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.preset is not None and self.dialect is not None:
            raise ValueError(
                f"the preset {self.preset!r} decides the dialect; leave `dialect` out, or the preset"
            )
        if self.preset is None and self.base_url is None:
            raise ValueError("a provider needs a `base_url`, or a `preset` that has one")
        return self

    def described(self) -> NewProvider:
        """As the service takes it."""
        preset = None if self.preset is None else PRESETS[self.preset]
        return NewProvider(
            name=self.name,
            base_url=self.base_url or ("" if preset is None else preset.base_url),
            dialect=self.dialect or COMPATIBLE if self.preset is None else stored_dialect(self.preset),
            secret=None if self.api_key is None else self.api_key.get_secret_value(),
            concurrency=self.concurrency,
            timeout_seconds=self.timeout_seconds,
            max_retries=self.max_retries,
        )


class ProviderPatch(_Taken):
    """What to change; what is left out or null stays, except that `api_key: null` removes the secret."""

    base_url: BaseUrl | None = None
    api_key: ApiKey | None = None
    concurrency: Concurrency | None = None
    timeout_seconds: Timeout | None = None
    max_retries: Retries | None = None

    def described(self) -> Changes:
        """As the service takes it."""
        return Changes(
            base_url=self.base_url,
            secret=None if self.api_key is None else self.api_key.get_secret_value(),
            forget_secret="api_key" in self.model_fields_set and self.api_key is None,
            concurrency=self.concurrency,
            timeout_seconds=self.timeout_seconds,
            max_retries=self.max_retries,
        )


class ProviderDocument(BaseModel):
    """A provider as shown."""

    id: UUID
    name: str = Field(examples=["openai"])
    dialect: str = Field(examples=["openai_compatible"])
    preset: str | None = Field(
        examples=["groq"], description="The vendor whose quirks are known, among those with one dialect"
    )
    base_url: str = Field(examples=["https://api.openai.com/v1"])
    has_secret: bool
    concurrency: int
    timeout_seconds: float
    max_retries: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, provider: Provider) -> "ProviderDocument":
        """How the API shows a provider."""
        dialect, preset = split(provider.dialect)
        return cls(
            id=provider.id,
            name=provider.name,
            dialect=dialect,
            preset=preset,
            base_url=provider.base_url,
            has_secret=provider.has_secret,
            concurrency=provider.concurrency,
            timeout_seconds=provider.service.timeout_seconds,
            max_retries=provider.service.max_retries,
            created_at=provider.created_at,
            updated_at=provider.updated_at,
        )


class ModelPut(_Taken):
    """Own prices of a model: both, or neither to use the list price."""

    input_price: Dollars | None = Field(default=None, examples=[0.25])
    output_price: Dollars | None = Field(default=None, examples=[2.0])


class ModelDocument(BaseModel):
    """A model with the price that counts, in US dollars per million tokens."""

    name: str = Field(examples=["gpt-5-mini"])
    input_price: float | None = Field(examples=[0.25])
    output_price: float | None = Field(examples=[2.0])
    source: Literal["override", "list"] | None = Field(
        description="Your own price, the price list's, or null when neither knows one"
    )

    @classmethod
    def of(cls, model: PricedModel) -> "ModelDocument":
        """How the API shows a model."""
        price = model.price
        return cls(
            name=model.name,
            input_price=None if price is None else float(price.input),
            output_price=None if price is None else float(price.output),
            source=None if price is None else price.source,
        )


class ProbeRequest(_Taken):
    """What to try: one token of a model, or, without one, the list of models."""

    model: str | None = Field(default=None, pattern=MODEL, examples=["gpt-5-mini"])


class ProbeDocument(BaseModel):
    """What the test found."""

    ok: bool
    latency_ms: float = Field(examples=[212.4])
    models: list[str] = Field(description="What the account reaches, or the model that answered")
    detail: str = Field(examples=["the account reaches 41 models"])

    @classmethod
    def of(cls, found: Probe) -> "ProbeDocument":
        """How the API shows a test."""
        return cls(
            ok=found.ok,
            latency_ms=round(found.latency * 1000, 3),
            models=list(found.models),
            detail=found.detail,
        )
