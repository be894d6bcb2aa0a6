"""What the API takes and shows of providers. Secrets go in and never come out."""

import re
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from tiebreak.infrastructure.rest.text import Text
from tiebreak.providers.account import DatedPrice, PricedModel, Probe, Provider
from tiebreak.providers.bounds import BatchSize, BatchWait, CacheEnabled, CacheSeconds, Retries, Timeout
from tiebreak.providers.presets import COMPATIBLE, PRESETS, split, stored_dialect
from tiebreak.providers.prices import HIGHEST
from tiebreak.providers.service import Changes, NewProvider, RouteValues, ServiceValues

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
_PROXY = r"^http://[!-~]{1,2000}$"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_YEARS = (1970, 2999)  # of prices


def _sendable(key: SecretStr) -> SecretStr:
    if re.fullmatch(_HEADER_SAFE[1:-1], key.get_secret_value()) is None:
        # The key is not repeated, nor where it is wrong.
        raise ValueError("a key is 1 to 4096 visible ASCII characters, without spaces or line ends")
    return key


def _plain(url: SecretStr) -> SecretStr:
    if re.fullmatch(_PROXY[1:-1], url.get_secret_value()) is None:
        raise ValueError(
            "a proxy is http://[user:password@]host:port, without spaces"
        )  # it may hold a password
    return url


def _moment(value: object) -> object:
    """A day begins at midnight UTC; a moment says its own zone."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(f"{value}T00:00:00Z" if _DAY.fullmatch(value) else value)
        except ValueError:
            value = None
    if not isinstance(value, datetime) or value.tzinfo is None or not _YEARS[0] <= value.year <= _YEARS[1]:
        raise ValueError(
            "a date is a day (2026-07-01, from midnight UTC) or a moment with its zone (2026-07-01T08:00:00+02:00), "
            f"from {_YEARS[0]} to {_YEARS[1]}"
        )
    return value


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
ProxyUrl = Annotated[SecretStr, AfterValidator(_plain), Field(json_schema_extra={"pattern": _PROXY})]
FilePath = Annotated[Text, Field(max_length=4096, examples=["/etc/ssl/company.pem"])]
Dollars = Annotated[
    float,
    Field(
        allow_inf_nan=False,
        description="US dollars per million tokens",
        json_schema_extra={"minimum": 0, "maximum": HIGHEST},
    ),
]


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_moment),
    Field(
        description="Since when it counts: a day (from midnight UTC) or a moment with its zone",
        examples=["2026-07-01T00:00:00Z"],
    ),
]


class _Taken(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BatchStated(_Taken):
    """How concurrent calls of one kind are to go together; what is left out or null stays as it is."""

    max_batch_size: BatchSize | None = None
    batch_timeout_ms: BatchWait | None = None


class _Settable(_Taken):
    """What may be said of a new account and changed later. Null stands for what is not said, except that a PATCH with a
    null proxy or path removes it."""

    concurrency: Concurrency | None = None
    timeout_seconds: Timeout | None = None
    max_retries: Retries | None = None
    batch_config: BatchStated | None = None
    cache_enabled: CacheEnabled | None = None
    cache_ttl_seconds: CacheSeconds | None = None
    proxy: ProxyUrl | None = Field(
        default=None, description="http://[user:password@]host:port; kept encrypted, never shown"
    )
    ca_bundle: FilePath | None = Field(
        default=None,
        description="PEM file, on the machine that calls, of whom to trust instead of the system's authorities",
    )
    client_certificate: FilePath | None = Field(
        default=None, description="PEM file of the client's own certificate"
    )
    client_key: FilePath | None = Field(
        default=None, description="PEM file of its key, if that is in a file of its own"
    )

    def service(self) -> ServiceValues:
        """What is said of the service's configuration."""
        values: ServiceValues = self.model_dump(include=_SERVICE, exclude_none=True)  # type: ignore[assignment]
        return values

    def route(self) -> RouteValues:
        """What is said of the way to the vendor."""
        said = self.model_fields_set & _ROUTE
        values: RouteValues = {name: getattr(self, name) for name in said - {"proxy"}}  # type: ignore[assignment]
        if "proxy" in said:
            values["proxy"] = None if self.proxy is None else self.proxy.get_secret_value()
        return values


_SERVICE = set(ServiceValues.__annotations__)
_ROUTE = set(RouteValues.__annotations__)


class ProviderDescription(_Settable):
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

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.preset is not None and self.dialect is not None:
            raise ValueError(
                f"the preset {self.preset!r} decides the dialect; leave `dialect` out, or the preset"
            )
        if self.preset is None and self.base_url is None:
            raise ValueError("a provider needs a `base_url`, or a `preset` that has one")
        return self

    @property
    def stored_dialect(self) -> str:
        """The dialect as the account keeps it."""
        return self.dialect or COMPATIBLE if self.preset is None else stored_dialect(self.preset)

    def described(self, secret: str | None) -> NewProvider:
        """As the service takes it."""
        preset = None if self.preset is None else PRESETS[self.preset]
        said: dict[str, Any] = {} if self.concurrency is None else {"concurrency": self.concurrency}
        return NewProvider(
            name=self.name,
            base_url=self.base_url or ("" if preset is None else preset.base_url),
            dialect=self.stored_dialect,
            secret=secret,
            service=self.service(),
            route=self.route(),
            **said,
        )


class ProviderCreate(ProviderDescription):
    """An account at a vendor with its key; what is not said of its service is as the settings have it."""

    api_key: ApiKey | None = Field(
        default=None, description="Kept encrypted, sent to the base URL only, never shown"
    )

    def new(self) -> NewProvider:
        """As the service takes it."""
        return self.described(None if self.api_key is None else self.api_key.get_secret_value())


class ProviderPatch(_Settable):
    """What to change; what is left out or null stays, except that null removes `api_key`, `proxy`, `ca_bundle`,
    `client_certificate` and `client_key`. A stored key stays only with those who could read it before: with another server,
    proxy or CA bundle, give it again."""

    base_url: BaseUrl | None = None
    api_key: ApiKey | None = None

    def described(self) -> Changes:
        """As the service takes it."""
        return Changes(
            base_url=self.base_url,
            secret=None if self.api_key is None else self.api_key.get_secret_value(),
            forget_secret="api_key" in self.model_fields_set and self.api_key is None,
            concurrency=self.concurrency,
            service=self.service(),
            route=self.route(),
        )


class BatchDocument(BaseModel):
    """How concurrent calls of one kind go together."""

    max_batch_size: int
    batch_timeout_ms: int


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
    batch_config: BatchDocument
    cache_enabled: bool
    cache_ttl_seconds: int
    has_proxy: bool
    ca_bundle: str | None
    client_certificate: str | None
    client_key: str | None
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
            **asdict(provider.service),
            has_proxy=provider.has_proxy,
            ca_bundle=provider.ca_bundle,
            client_certificate=provider.client_certificate,
            client_key=provider.client_key,
            created_at=provider.created_at,
            updated_at=provider.updated_at,
        )


class ModelPut(_Taken):
    """Own prices of a model from a date on (null: since ever); without any, all own ones are forgotten and the list price
    counts."""

    input_price: Dollars | None = Field(default=None, examples=[0.25])
    output_price: Dollars | None = Field(default=None, examples=[2.0])
    cached_input_price: Dollars | None = Field(
        default=None,
        examples=[0.025],
        description="Of input that the vendor read from its own cache; null: what all input costs",
    )
    valid_from: Moment | None = None


class PriceDocument(BaseModel):
    """An own price, from a date on until the next one's."""

    valid_from: datetime | None = Field(description="Null is since ever")
    input_price: float
    output_price: float
    cached_input_price: float | None

    @classmethod
    def of(cls, dated: DatedPrice) -> "PriceDocument":
        """How the API shows a price."""
        cached = dated.price.cached_input
        return cls(
            valid_from=dated.valid_from,
            input_price=float(dated.price.input),
            output_price=float(dated.price.output),
            cached_input_price=None if cached is None else float(cached),
        )


class ModelDocument(BaseModel):
    """A model with the price that counts now, in US dollars per million tokens."""

    name: str = Field(examples=["gpt-5-mini"])
    input_price: float | None = Field(examples=[0.25])
    output_price: float | None = Field(examples=[2.0])
    cached_input_price: float | None = Field(
        examples=[0.025], description="Null where cached input costs what all input costs"
    )
    source: Literal["override", "list"] | None = Field(
        description="Your own price, the price list's, or null when neither knows one"
    )
    valid_from: datetime | None = Field(description="Since when your own price counts; null is since ever")
    prices: list[PriceDocument] = Field(description="All your own prices, the oldest first")

    @classmethod
    def of(cls, model: PricedModel) -> "ModelDocument":
        """How the API shows a model."""
        price = model.price
        cached = None if price is None else price.cached_input
        return cls(
            name=model.name,
            input_price=None if price is None else float(price.input),
            output_price=None if price is None else float(price.output),
            cached_input_price=None if cached is None else float(cached),
            source=None if price is None else price.source,
            valid_from=model.valid_from,
            prices=[PriceDocument.of(dated) for dated in model.own],
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
