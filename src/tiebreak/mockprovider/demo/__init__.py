"""The demo's own question bank and its two simulated models, as files in the package."""

from importlib.resources import files
from pathlib import Path

from tiebreak.mockprovider.config import MockConfig, MockOptions, load


def models_path() -> Path:
    """The models file: `careful`, better and dearer, and `swift`."""
    return Path(str(files(__name__) / "models.yaml"))


def questions_path() -> Path:
    """The question bank: JSONL of {id, question, answer, category, difficulty}."""
    return Path(str(files(__name__) / "questions.jsonl"))


def config() -> MockConfig:
    """Both models over the bank; `config().models[name].price` is what the demo enters as their price."""
    return load(MockOptions(models=models_path()))
