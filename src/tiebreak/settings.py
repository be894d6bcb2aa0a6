"""Settings, read once from the environment. Only app.py, supervisor.py and cli/ see this; parts receive values."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every knob, with its unit in the name or the description; `docs/reference.md` lists them."""

    model_config = SettingsConfigDict(env_prefix="TIEBREAK_", frozen=True, extra="ignore")

    home: Path | None = Field(default=None, description="The data folder")
    host: str = Field(
        default="127.0.0.1", description="Where `serve` listens; loopback only until keys exist"
    )
    port: int = Field(default=8321, ge=0, le=65535)
    secret_key: SecretStr | None = Field(
        default=None,
        description="32 bytes in base64: opens the providers' secrets; else a 0600 file in the data folder",
    )
    outbound: Literal["public", "loopback", "private"] = Field(
        default="loopback",
        description="Which addresses providers may have: public only, also loopback, also private networks",
    )
    lease_seconds: float = Field(default=10.0, gt=0, le=3600, description="How long a worker may be silent")
    database_url: SecretStr | None = Field(default=None, validation_alias="DATABASE_URL")
    db_pool_size: int = Field(default=20, ge=1, validation_alias="DB_POOL_SIZE")
    db_max_overflow: int = Field(default=30, ge=0, validation_alias="DB_MAX_OVERFLOW")
