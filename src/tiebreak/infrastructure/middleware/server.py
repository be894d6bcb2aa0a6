"""uvicorn's server with what it lacks: listening on more sockets while it runs, and leaving without cutting anybody off."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import uvicorn

from tiebreak.infrastructure.middleware.protocol import BoundedHttpProtocol

LINGER = 0.5  # seconds in which an idle connection may still ask for something


class Server(uvicorn.Server):
    """Signals belong to the process that runs it: it sets `should_exit`. `on_started` is called once it answers.

    When it leaves, idle connections may ask for `linger` seconds; what is in progress then has uvicorn's grace.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        on_started: Callable[[], None] = lambda: None,
        linger: float = LINGER,
    ) -> None:
        super().__init__(config)
        self._linger = linger
        self._on_started = on_started
        self._listening: dict[int, asyncio.Server] = {}

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, and say so."""
        await super().startup(sockets)
        self._on_started()

    async def listen_on(self, sockets: Mapping[int, socket.socket]) -> None:
        """Accept from these sockets, by slot, and from no other of those given before.

        Connections that were accepted stay; those that wait in a socket's queue stay there for whoever accepts next.
        """
        if self.should_exit:
            return
        for slot in self._listening.keys() - sockets.keys():
            server = self._listening.pop(slot)
            self.servers.remove(server)
            server.close()
        for slot in sockets.keys() - self._listening.keys():
            # A duplicate, because closing the server closes its socket.
            server = await asyncio.get_running_loop().create_server(
                self._protocol, sock=sockets[slot].dup(), backlog=self.config.backlog
            )
            self._listening[slot] = server
            self.servers.append(server)

    def _protocol(self) -> asyncio.Protocol:
        return BoundedHttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, answer what comes on open connections for a moment, finish what has begun.

        An idle connection is not closed at once: a request may be on its way, and would be lost.
        """
        for server in self.servers:
            server.close()
        deadline = asyncio.get_running_loop().time() + self._linger
        while self.server_state.connections and asyncio.get_running_loop().time() < deadline:
            for connection in self.server_state.connections:  # again each time: some were accepted just now
                if isinstance(connection, BoundedHttpProtocol):
                    connection.retire()
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)
