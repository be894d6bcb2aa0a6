"""The pipe by which a child learns that its supervisor is gone, however it went.

Each child holds the read end of a pipe whose write end only the supervisor has: its end of file is the news.
"""

import os
import signal
import threading
import time

GRACE = 10.0  # seconds a child may take to finish what it has begun


def leave_with_parent(tether: int, grace: float = GRACE + 2) -> None:
    """Make this process end when the other end of the pipe closes: by SIGTERM, and for good after `grace` seconds.

    A thread of its own watches, so that an event loop that hangs cannot outlive the supervisor either.
    """

    def watch() -> None:
        while os.read(tether, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, name="tether", daemon=True).start()
