"""What a guardian is told by the process that starts it: one argument, so that it survives the exec."""

import json
from dataclasses import dataclass
from pathlib import Path

from tiebreak.infrastructure.connections.private_postgres.binaries import Binaries


@dataclass(frozen=True, slots=True)
class Order:
    """What a guardian is told, on its command line."""

    home: Path
    binaries: Binaries
    fsync: bool

    def to_json(self) -> str:
        """As one argument."""
        found = self.binaries
        libraries = str(found.libraries) if found.libraries else None
        return json.dumps(
            [str(self.home), [str(found.folder), found.major, found.version, libraries], self.fsync]
        )

    @classmethod
    def from_json(cls, text: str) -> "Order":
        """Back from the argument."""
        home, (folder, major, version, libraries), fsync = json.loads(text)
        found = Binaries(Path(folder), major, version, Path(libraries) if libraries else None)
        return cls(Path(home), found, fsync)
