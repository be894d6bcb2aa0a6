"""Settings, read once from the environment. Only app.py, supervisor.py and cli/ see this; parts receive values."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tiebreak.errors import Misconfigured
from tiebreak.providers.account import BatchConfig, ExternalServiceConfig
from tiebreak.providers.bounds import BatchSize, BatchWait, CacheEnabled, CacheSeconds, Retries, Timeout

PREFIX = "TIEBREAK_"
# Begin like ours but are read by the tests and the examples, not by the product.
OTHERS = frozenset({"TIEBREAK_GSM8K"})
_SERVICE = ExternalServiceConfig("")


def usual_workers() -> int:
    """As many request workers as this process may use cores, up to four: beyond, the database sets the pace."""
    return min(len(os.sched_getaffinity(0)), 4)


class Settings(BaseSettings):
    """Every knob, with its unit in the name or the description; `docs/reference.md` lists them."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    home: Path | None = Field(default=None, description="The data folder")
    host: str = Field(
        default="127.0.0.1", description="Where `serve` listens; beyond loopback only with API keys"
    )
    port: int = Field(default=8321, ge=0, le=65535, description="Port of `serve`; 0 takes a free one")
    workers: int = Field(
        default_factory=usual_workers,
        ge=1,
        le=64,
        description="Request workers of `serve`; one for each core, at most 4, unless you say otherwise",
    )
    secret_key: SecretStr | None = Field(
        default=None,
        description="32 bytes in base64: opens the providers' secrets; else a 0600 file in the data folder",
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="What commands send; without it, on the data folder, they work as this machine's owner",
    )
    admin_key_file: Path | None = Field(
        default=None,
        description="The first admin key, stored at every start; written (0600) if there is no such file",
    )
    outbound: Literal["public", "loopback", "private"] = Field(
        default="loopback",
        description="Which addresses providers may have: public only, also loopback, also private networks",
    )
    provider_timeout_seconds: Timeout = Field(
        default=_SERVICE.timeout_seconds,
        description="Seconds for one attempt, where a new provider says nothing",
    )
    provider_max_retries: Retries = Field(
        default=_SERVICE.max_retries,
        description="After the first attempt of a call, where a new provider says nothing",
    )
    provider_max_batch_size: BatchSize = Field(
        default=_SERVICE.batch_config.max_batch_size,
        description="Calls that go together at most, where a new provider says nothing",
    )
    provider_batch_timeout_ms: BatchWait = Field(
        default=_SERVICE.batch_config.batch_timeout_ms,
        description="Milliseconds that a call waits for others at most, where a new provider says nothing",
    )
    provider_cache_enabled: CacheEnabled = Field(
        default=_SERVICE.cache_enabled,
        description="Keep answers to deterministic requests, where a new provider says nothing",
    )
    provider_cache_ttl_seconds: CacheSeconds = Field(
        default=_SERVICE.cache_ttl_seconds,
        description="Seconds that an answer is kept, where a new provider says nothing",
    )
    http_client: Literal["own", "aiohttp"] = Field(
        default="own",
        description="What calls providers: our own HTTP/1.1 client, or aiohttp (needs the extra tiebreak[aiohttp])",
    )
    lease_seconds: float = Field(default=10.0, gt=0, le=3600, description="How long a worker may be silent")
    database_url: SecretStr | None = Field(
        default=None,
        validation_alias="DATABASE_URL",
        description="A PostgreSQL of yours (postgresql://…) instead of the private one",
    )
    db_pool_size: int = Field(
        default=20,
        ge=1,
        le=1000,
        validation_alias="DB_POOL_SIZE",
        description="Connections kept, per process",
    )
    db_max_overflow: int = Field(
        default=30,
        ge=0,
        le=1000,
        validation_alias="DB_MAX_OVERFLOW",
        description="Connections above the pool under load, per process",
    )

    @property
    def provider_defaults(self) -> ExternalServiceConfig:
        """The configuration of a provider that says nothing of its own; without a name."""
        batch = BatchConfig(self.provider_max_batch_size, self.provider_batch_timeout_ms)
        return ExternalServiceConfig(
            service_name="",
            timeout_seconds=self.provider_timeout_seconds,
            max_retries=self.provider_max_retries,
            batch_config=batch,
            cache_enabled=self.provider_cache_enabled,
            cache_ttl_seconds=self.provider_cache_ttl_seconds,
        )

    @classmethod
    def variables(cls) -> dict[str, str]:
        """The environment variable of every field, by field name."""
        return {
            name: str(field.validation_alias or f"{PREFIX}{name}".upper())
            for name, field in cls.model_fields.items()
        }

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The settings of this process.

        Raises:
            Misconfigured: a value cannot be used, or a variable of ours does not exist; the variable is named.
        """
        known = cls.variables()
        for name in sorted(environ):
            if name.startswith(PREFIX) and name not in OTHERS and name not in known.values():
                near = difflib.get_close_matches(name, known.values(), n=1)
                hint = (
                    f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known.values()))}"
                )
                raise Misconfigured(f"{name} is not a setting; {hint}")
        try:
            return cls()
        except ValidationError as exc:
            raise Misconfigured(
                "; ".join(_line(error["loc"], error["msg"], known) for error in exc.errors())
            ) from exc


def _line(location: tuple[int | str, ...], message: str, known: Mapping[str, str]) -> str:
    # The value is left out: it may be a secret or a database URL with a password.
    field = str(location[0])
    return f"{known.get(field.lower(), field)} cannot be used: {message[:1].lower()}{message[1:]}"
