"""An upload as it arrives: to a temporary file, within limits, then ready to be read more than once."""

import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tiebreak.datasets.columns import ColumnMapping
from tiebreak.datasets.model import Item
from tiebreak.datasets.parquet import to_jsonl
from tiebreak.datasets.parsing import MAX_LINE, read_csv, read_jsonl
from tiebreak.errors import Fault, PayloadTooLarge, UnsupportedMedia

MAX_UPLOAD = 2**30  # bytes
CSV = "text/csv"
JSONL = "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"
MEDIA_TYPES = (CSV, JSONL, PARQUET)


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file. `digest` is of the bytes as they came; `unit` is what its records are called."""

    path: Path
    media: str
    digest: bytes
    unit: str

    def items(self, mapping: ColumnMapping) -> Iterator[Item | Fault]:
        """Read it from the beginning; see `parsing`."""
        read = read_csv if self.media == CSV else read_jsonl
        with self.path.open("rb") as file:
            yield from read(file, mapping)


def media_type(content_type: str | None) -> str:
    """Which of our types a Content-Type header says.

    Raises:
        UnsupportedMedia: none of them, or text that is not UTF-8.
    """
    media, _, parameters = (content_type or "").partition(";")
    media = media.strip().lower()
    if media not in MEDIA_TYPES:
        raise UnsupportedMedia(
            f"a dataset of type {content_type or 'nothing'!r}; send its bytes as {', '.join(MEDIA_TYPES)}"
        )
    charset = parameters.lower().replace('"', "").replace(" ", "").removeprefix("charset=")
    if parameters and charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise UnsupportedMedia(f"Content-Type says {parameters.strip()!r}; datasets are UTF-8")
    return media


@asynccontextmanager
async def received(
    chunks: AsyncIterator[bytes], media: str, *, limit: int = MAX_UPLOAD
) -> AsyncIterator[Upload]:
    """The upload, as long as the block runs; its file is gone afterwards.

    Raises:
        PayloadTooLarge: over `limit` bytes in all, or 10 MB in a line.
        InvalidInput, Misconfigured: see `parquet.to_jsonl`.
    """
    with tempfile.TemporaryDirectory(prefix="tiebreak-upload-") as folder:
        path = Path(folder) / "body"
        with path.open("wb") as file:
            digest = await _write(chunks, file, lines=media != PARQUET, limit=limit)
        if media == PARQUET:
            rows = Path(folder) / "rows.jsonl"
            await to_jsonl(path, rows)
            path.unlink()
            yield Upload(rows, media, digest, "row")
        else:
            yield Upload(path, media, digest, "line")


async def _write(chunks: AsyncIterator[bytes], file: BinaryIO, *, lines: bool, limit: int) -> bytes:
    digest = hashlib.sha256()
    size = line_bytes = 0
    line = 1
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(f"over {limit // 2**20} MB, which is the limit; split the file")
        end = chunk.rfind(b"\n")
        line_bytes = line_bytes + len(chunk) if end < 0 else len(chunk) - end - 1
        line += chunk.count(b"\n")
        # A line without an end is stopped here, while it comes; the reader measures every line again.
        if lines and line_bytes > MAX_LINE:
            message = f"longer than {MAX_LINE // 2**20} MB, which is the limit; is a line end missing?"
            raise PayloadTooLarge(f"line {line}: {message}", faults=[Fault("", message, line=line)])
        digest.update(chunk)
        file.write(chunk)
    return digest.digest()
