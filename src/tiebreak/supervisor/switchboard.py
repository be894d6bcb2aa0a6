"""The supervisor's end of every child's channel: who answers, who has gone silent, and everybody's metrics as one."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Sequence

from tiebreak.infrastructure.telemetry import exposition, instruments
from tiebreak.infrastructure.telemetry.metrics import Metrics, Sum
from tiebreak.supervisor.children import Child, say
from tiebreak.supervisor.control import Channel, Cover, Exposition, Leaving, Message, Ready, Report, Scrape

LOOK_EVERY = 0.25  # seconds
SILENT_AFTER = 2.0  # seconds without a report; one is due every quarter of a second
KILLED_AFTER = 30.0  # seconds of silence
READY_WITHIN = 60.0  # seconds until a child answers; the first start makes a database


class Link:
    """One live child process as the supervisor sees it. `slot` is a request worker's place among the sockets."""

    def __init__(self, child: Child, channel: Channel, process: str, slot: int | None) -> None:
        self.child = child
        self.channel = channel
        self.process = process
        self.slot = slot
        self.ready = False
        self.silent = False
        self.heard = time.monotonic()
        self.covers: list[int] = []

    @property
    def serves(self) -> bool:
        """Whether requests reach it now."""
        return self.slot is not None and self.ready and not self.silent


def coverage(serving: Sequence[int], slots: int) -> dict[int, list[int]]:
    """From which sockets each serving slot accepts: its own, and every one that nobody serves."""
    orphans = sorted(set(range(slots)) - set(serving))
    return {slot: sorted({slot, *orphans}) for slot in serving}


class Switchboard:
    """Attends the children. `metrics` is the supervisor's own; `slots` is how many listening sockets there are."""

    def __init__(self, slots: int) -> None:
        self.metrics = Metrics(instruments.ALL)
        self._slots = slots
        self._links: list[Link] = []
        self._sum = Sum(instruments.ALL)
        self._numbers = 0

    def restarted(self, process: str) -> Callable[[], None]:
        """What counts a restart of this process."""
        return self.metrics.number(instruments.RESTARTS, process).add

    async def attend(self, child: Child, end: socket.socket, process: str, slot: int | None = None) -> None:
        """Listen to one child process until it is gone."""
        link = Link(child, await Channel.open(end), process, slot)
        self._numbers += 1
        key = f"{process} {self._numbers}"  # a process of its own in the sum, whatever its place
        self._links.append(link)
        try:
            async for message in link.channel.messages():
                self._heard(link)
                self._take(link, key, message)
        finally:
            self._links.remove(link)
            self._sum.depart(key)
            link.channel.close()
            self._spread()

    def _take(self, link: Link, key: str, message: Message) -> None:
        match message:
            case Report():
                self._sum.report(key, message.readings)
            case Scrape():
                link.channel.send(Exposition(message.number, self.text()))
            case Ready():
                link.ready = True
                link.child.answering.set()
                self._spread()
            case Leaving():
                link.ready = False
                self._spread()

    def _heard(self, link: Link) -> None:
        now = time.monotonic()
        if link.silent:
            link.silent = False
            say(f"the {link.child.name} runs again after {now - link.heard:.1f} s")
            self._spread()
        link.heard = now

    def _spread(self) -> None:
        """Tell every request worker from which sockets it accepts now."""
        spread = coverage(
            [link.slot for link in self._links if link.serves and link.slot is not None], self._slots
        )
        for link in self._links:
            covers = spread.get(link.slot, []) if link.serves and link.slot is not None else link.covers
            if covers != link.covers and link.channel.send(Cover(covers)):
                link.covers = covers

    def text(self) -> str:
        """The metrics of all processes, past ones included, in Prometheus' format."""
        return exposition.text(self._sum.merged(self.metrics))

    async def watch(self) -> None:
        """Say it when a child's event loop hangs, and end what does not come back; until cancelled."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = time.monotonic()
            if now - looked > SILENT_AFTER:  # we were the ones who hung; what they said is still to be read
                for link in self._links:
                    link.heard = now
            looked = now
            for link in self._links:
                self._look_at(link, now)

    def _look_at(self, link: Link, now: float) -> None:
        silence = now - link.heard
        if not link.ready:
            if not link.child.answering.is_set() and now - link.child.began > READY_WITHIN:
                say(f"the {link.child.name} did not answer within {READY_WITHIN:g} s; its log above says why")
                link.child.signal(signal.SIGKILL)
        elif silence > KILLED_AFTER:
            say(f"the {link.child.name} has been silent for {silence:.0f} s; ending it")
            link.child.signal(signal.SIGKILL)
        elif silence > SILENT_AFTER and not link.silent:
            link.silent = True
            self.metrics.number(instruments.STALLS, link.process).add()
            say(
                f"the {link.child.name} has been silent for {silence:.1f} s; its stack stands above, if it runs at all"
            )
            self._spread()
