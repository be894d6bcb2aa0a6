"""The dialects by name, as accounts keep them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from uuid import UUID

from tiebreak.providers.account import Account, ExternalServiceConfig
from tiebreak.providers.adapters.adapter import Adapter
from tiebreak.providers.adapters.anthropic import Anthropic
from tiebreak.providers.adapters.azure_openai import AzureOpenAI
from tiebreak.providers.adapters.gemini import Gemini
from tiebreak.providers.adapters.openai import OpenAI, OpenAIResponses
from tiebreak.providers.adapters.openai_compatible import OpenAICompatible
from tiebreak.providers.model import ChatRequest, Failure, ProviderError
from tiebreak.providers.presets import COMPATIBLE, PRESETS, stored_dialect

PLAIN: Final[Mapping[str, Adapter]] = MappingProxyType(
    {
        COMPATIBLE: OpenAICompatible(),
        "openai": OpenAI(),
        "openai_responses": OpenAIResponses(),
        "anthropic": Anthropic(),
        "gemini": Gemini(),
        "azure_openai": AzureOpenAI(),
    }
)
ADAPTERS: Final[Mapping[str, Adapter]] = MappingProxyType(
    {
        **PLAIN,
        **{
            stored_dialect(name): OpenAICompatible(preset.quirks)
            for name, preset in PRESETS.items()
            if preset.quirks is not None
        },
    }
)


def adapter_of(dialect: str) -> Adapter:
    """The adapter of a dialect as accounts keep it.

    Raises:
        ProviderError: a later version of Tiebreak stored it, and this one does not speak it.
    """
    adapter = ADAPTERS.get(dialect)
    if adapter is None:
        raise ProviderError(
            Failure.BAD_REQUEST,
            f"the dialect {dialect!r} is not one of {', '.join(PLAIN)}; remove the provider and add it again",
            calls=0,
        )
    return adapter


def untranslatable(dialect: str, base_url: str, request: ChatRequest) -> str | None:
    """Why a request has no words in a dialect, or None when it has: for an early answer, nothing is sent."""
    nobody = Account(UUID(int=0), dialect, base_url, 1, None, ExternalServiceConfig(""))
    try:
        adapter_of(dialect).encode(nobody, request)
    except ProviderError as exc:
        return exc.detail
    return None
