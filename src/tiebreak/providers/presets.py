"""Vendors by name: where they are, which dialect they speak, and where their idea of it differs. Pure.

An account made from the preset of an OpenAI-compatible vendor keeps the preset's name after its dialect
(`openai_compatible:groq`), because the quirks count at every call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tiebreak.providers.adapters.openai_request import Quirks

COMPATIBLE: Final = "openai_compatible"


@dataclass(frozen=True, slots=True)
class Preset:
    """A vendor."""

    dialect: str
    base_url: str
    quirks: Quirks | None = None


def _like_openai(base_url: str, quirks: Quirks | None = None) -> Preset:
    return Preset(COMPATIBLE, base_url, quirks or Quirks())


PRESETS: Final[Mapping[str, Preset]] = {
    "openai": Preset("openai", "https://api.openai.com/v1"),
    "openai-responses": Preset("openai_responses", "https://api.openai.com/v1"),
    "anthropic": Preset("anthropic", "https://api.anthropic.com"),
    "gemini": Preset("gemini", "https://generativelanguage.googleapis.com"),
    "cerebras": _like_openai("https://api.cerebras.ai/v1", Quirks(embeddings=False)),
    "deepseek": _like_openai(
        "https://api.deepseek.com", Quirks(json_schema=False, images=False, embeddings=False)
    ),
    "fireworks": _like_openai("https://api.fireworks.ai/inference/v1", Quirks(samples=128)),
    "groq": _like_openai("https://api.groq.com/openai/v1", Quirks(embeddings=False)),
    # It refuses fields it does not know, `stream_options` among them, and has another name for the seed.
    "mistral": _like_openai("https://api.mistral.ai/v1", Quirks(seed="random_seed", stream_usage=False)),
    "openrouter": _like_openai("https://openrouter.ai/api/v1"),
    "together": _like_openai("https://api.together.xyz/v1", Quirks(samples=128)),
    "xai": _like_openai("https://api.x.ai/v1", Quirks(embeddings=False)),
    "llamacpp": _like_openai("http://127.0.0.1:8080/v1"),
    "lmstudio": _like_openai("http://127.0.0.1:1234/v1"),
    "ollama": _like_openai("http://127.0.0.1:11434/v1"),
    "vllm": _like_openai("http://127.0.0.1:8000/v1", Quirks(samples=128)),
}


def split(stored: str) -> tuple[str, str | None]:
    """The dialect and the preset that a stored dialect names."""
    dialect, _, preset = stored.partition(":")
    return dialect, preset or None


def stored_dialect(name: str) -> str:
    """The dialect as an account made from this preset keeps it."""
    preset = PRESETS[name]
    return preset.dialect if preset.quirks is None else f"{preset.dialect}:{name}"
