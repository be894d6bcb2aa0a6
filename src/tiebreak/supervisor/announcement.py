"""Which server runs on a data folder, for the command line."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Announcement:
    """The server on a data folder, as `server.json` there tells the command line (0600)."""

    url: str
    pid: int
    instance: str

    def write(self, home: Path) -> None:
        """Write the file; it is complete or absent."""
        fresh = home / f"server.json.{os.getpid()}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file)
        fresh.replace(home / "server.json")

    @classmethod
    def read(cls, home: Path) -> "Announcement | None":
        """What the file says, or None without one that can be read. The server may be gone: ask its /health."""
        try:
            document = json.loads((home / "server.json").read_bytes())
            return cls(str(document["url"]), int(document["pid"]), str(document["instance"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def withdraw(self, home: Path) -> None:
        """Remove the file, if it is still ours."""
        if self.read(home) == self:
            (home / "server.json").unlink(missing_ok=True)


def instance_at(url: str, timeout: float = 2.0) -> str | None:
    """The instance id a server tells at /health, or None when nothing of ours answers within `timeout` seconds."""
    import http.client
    from urllib.parse import urlsplit

    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout)
    try:
        connection.request("GET", "/health")
        return str(json.loads(connection.getresponse().read(65536))["instance"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
