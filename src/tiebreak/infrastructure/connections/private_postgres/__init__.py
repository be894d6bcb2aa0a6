"""A real PostgreSQL of our own in the data folder, for when no DATABASE_URL is set.

It is owned by a guardian process and lives exactly as long as some process holds `clients.lock` in that folder.
"""

from tiebreak.infrastructure.connections.private_postgres.folder import resolve_home
from tiebreak.infrastructure.connections.private_postgres.server import PrivatePostgres

__all__ = ["PrivatePostgres", "resolve_home"]
