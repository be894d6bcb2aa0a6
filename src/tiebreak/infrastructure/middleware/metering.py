"""Every request is counted, by surface and class of status, before its answer begins to leave.

Whoever has an answer is therefore in the count, also in the count of a process that is killed a moment later, up to
its last report.
"""

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tiebreak.infrastructure.telemetry import instruments
from tiebreak.infrastructure.telemetry.metrics import Metrics

ELSEWHERE = "operations"
CUT = "cut"
CLASSES = {hundred: f"{hundred}xx" for hundred in range(1, 6)}


class Metering:
    """Pure ASGI. `surfaces` names what stands behind a beginning of the path; the rest is operations."""

    def __init__(self, app: ASGIApp, metrics: Metrics, surfaces: Mapping[str, str]) -> None:
        self.app = app
        self.surfaces = tuple(surfaces.items())
        names = (*surfaces.values(), ELSEWHERE)
        self.in_flight = {name: metrics.number(instruments.REQUESTS_IN_FLIGHT, name) for name in names}
        self.answered = {
            (name, status): metrics.number(instruments.REQUESTS, name, status)
            for name in names
            for status in (*CLASSES.values(), CUT)
        }

    def surface(self, path: str) -> str:
        """What a path belongs to."""
        for beginning, name in self.surfaces:
            if path.startswith(beginning):
                return name
        return ELSEWHERE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        surface = self.surface(scope["path"])
        counted = False

        async def counting(message: Message) -> None:
            nonlocal counted
            if not counted and message["type"] == "http.response.start":
                counted = True
                self.answered[surface, CLASSES[message["status"] // 100]].add()
            await send(message)

        self.in_flight[surface].add()
        try:
            await self.app(scope, receive, counting)
        finally:
            self.in_flight[surface].add(-1)
            if not counted:
                self.answered[surface, CUT].add()
