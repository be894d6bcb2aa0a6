"""A process that uses the private server: `private_client.py HOME [MAJOR]`.

Says its URL, or the error, as one line of JSON; lives until its standard input ends. Standard library only, so that
it runs under any interpreter and as any user.
"""

import json
import sys
from pathlib import Path

from tiebreak.errors import TiebreakError
from tiebreak.infrastructure.connections.private_postgres.binaries import discover
from tiebreak.infrastructure.connections.private_postgres.server import PrivatePostgres

home = Path(sys.argv[1])
major = int(sys.argv[2]) if len(sys.argv) > 2 else None
try:
    server = PrivatePostgres.open(
        home, programs=lambda: (found for found in discover() if major in (None, found.major))
    )
except TiebreakError as exc:
    print(json.dumps({"error": exc.code, "detail": exc.detail}), flush=True)
    sys.exit(1)
print(json.dumps({"dsn": server.dsn}), flush=True)
sys.stdin.read()
