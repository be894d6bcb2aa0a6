"""Files the user names: read here, with errors that name them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiebreak.errors import InvalidInput

if TYPE_CHECKING:
    from tiebreak.experiments.definition import Definition

# What a dataset may be, by the end of its file's name.
DATASET_TYPES = {
    ".csv": "text/csv",
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
}


def bytes_of(file: Path) -> bytes:
    """The bytes of a small file.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as exc:
        raise InvalidInput(f"{file} cannot be read: {exc.strerror}") from exc


def text_of(file: Path) -> str:
    """The text of a small file.

    Raises:
        InvalidInput: it cannot be read, or is no UTF-8.
    """
    try:
        return bytes_of(file).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidInput(
            f"{file} is no UTF-8 text: byte {exc.start} cannot be decoded; save it as UTF-8"
        ) from exc


def definition_of(file: Path) -> "Definition":
    """The test a file defines.

    Raises:
        InvalidInput: with line and column of each fault.
    """
    from tiebreak.experiments import documents  # checks and templates come along; only two commands need them

    return documents.parse(bytes_of(file), name=str(file))


def wire(definition: "Definition") -> dict[str, Any]:
    """A definition as the API takes it."""
    return definition.model_dump(mode="json", by_alias=True, exclude_unset=True)


def dataset_type(file: Path) -> str:
    """The media type of a dataset's file.

    Raises:
        InvalidInput: the name does not tell.
    """
    kind = DATASET_TYPES.get(file.suffix.lower())
    if kind is None:
        raise InvalidInput(f"{file}: a dataset's name ends in one of {', '.join(DATASET_TYPES)}")
    if not file.is_file():
        raise InvalidInput(f"{file} is no file that can be read")
    return kind
