"""An account at a vendor, as calls take it, in one line."""

from typing import Any
from uuid import UUID, uuid4

from tests.upstream import SECRET

from tiebreak.infrastructure.connections.http import Route
from tiebreak.providers.account import Account, ExternalServiceConfig


def account_at(
    url: str,
    *,
    name: str = "acme",
    dialect: str = "openai_compatible",
    concurrency: int = 4,
    timeout_seconds: float = 5.0,
    max_retries: int = 2,
    secret: str | None = SECRET,
    provider_id: UUID | None = None,
    route: Route | None = None,
    **service: Any,
) -> Account:
    """`service` has further fields of `ExternalServiceConfig`."""
    return Account(
        provider_id=provider_id or uuid4(),
        dialect=dialect,
        base_url=url,
        concurrency=concurrency,
        secret=secret,
        service=ExternalServiceConfig(name, timeout_seconds, max_retries, **service),
        route=route,
    )
