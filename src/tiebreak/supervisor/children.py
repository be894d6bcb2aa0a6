"""One child process: started, attended, started again when it dies, ended."""

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

SHORTEST_LIFE = 5.0  # seconds; a child that lives shorter has failed at once
FAILURES = 5  # at once, in a row: then restarting does not help
LAST_WORDS = 1.0  # seconds in which what a dead child had said is read


def restart_delay(failures: int) -> float:
    """Seconds before a child that failed so many times in a row is started again."""
    return 0.0 if failures == 0 else min(0.1 * 2.0 ** (failures - 1), 5.0)


class Child:
    """One child process, started again when it dies. Once `proven`, it is started again without end.

    `attend` is called with our end of a socket pair for each process; the number of the other end is its last
    argument. It owns that end and closes it. `answering` is set by whoever attends, and cleared when the process ends.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        passed: Sequence[int],
        *,
        attend: Callable[["Child", socket.socket], Awaitable[None]],
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.proven = False
        self.answering = asyncio.Event()
        self.began = time.monotonic()
        self._command = command
        self._passed = passed
        self._attend = attend
        self._on_restart = on_restart
        self._leaving = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._running: asyncio.Task[int] | None = None

    def start(self) -> asyncio.Task[int]:
        """Run it until `stop`; the task ends earlier with the exit code of a child that cannot run at all."""
        self._running = asyncio.create_task(self._keep_running())
        return self._running

    async def _keep_running(self) -> int:
        failures = 0
        while not self._leaving.is_set():
            self.began = time.monotonic()
            code = await self._run_once()
            self.answering.clear()
            if self._leaving.is_set():
                break
            failed_at_once = time.monotonic() - self.began < SHORTEST_LIFE
            failures = failures + 1 if failed_at_once else 0
            self.proven = self.proven or not failed_at_once
            # Before it has ever worked: 2 and 3 are its own choice, and it has said why on stderr.
            if not self.proven and (code in (2, 3) or failures >= FAILURES):
                return code if code in (2, 3) else 3
            say(f"the {self.name} ended ({_ending(code)}); starting it again")
            self._on_restart()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(restart_delay(failures)):
                    await self._leaving.wait()
        return 0

    async def _run_once(self) -> int:
        ours, theirs = socket.socketpair()
        attending = asyncio.ensure_future(self._attend(self, ours))
        try:
            with theirs:
                number = theirs.fileno()
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    str(number),
                    pass_fds=[*self._passed, number],
                    stdin=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                )
            if self._leaving.is_set():  # asked to leave while it was being made
                self.signal(signal.SIGTERM)
            return await self._process.wait()
        finally:
            await asyncio.wait({attending}, timeout=LAST_WORDS)
            attending.cancel()

    async def stop(self, grace: float) -> None:
        """Ask it to finish, and after `grace` seconds make it end."""
        self._leaving.set()
        if self._running is None:
            return
        self.signal(signal.SIGTERM)
        _, unfinished = await asyncio.wait({self._running}, timeout=grace)
        if unfinished:
            self.signal(signal.SIGKILL)
            await self._running

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def say(text: str) -> None:
    """One line on stderr, in the manner of the command line; whole, also when several processes speak."""
    sys.stderr.write(f"tiebreak: {text}\n")
    sys.stderr.flush()


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
