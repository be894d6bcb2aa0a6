"""A process that appends events and says the id of each one that was taken, until it is killed."""

import asyncio
import os
import sys
import time
from pathlib import Path
from uuid import UUID

from tiebreak.clock import SystemClock
from tiebreak.ids import new_id
from tiebreak.observations.model import Event, Exposure, encode, unit_key
from tiebreak.observations.spool import Spool, SpoolConfig

TEST = UUID(int=7 << 64).bytes


def made(worker: UUID, number: int) -> Event:
    unit = f"u{number % 100}"
    exposure = Exposure(TEST, 1, number % 2, unit_key(TEST, unit), unit, "hash", 0.5, 3)
    return Event(
        new_id().bytes, time.time_ns() // 1000, worker.bytes, "chat", 200, exposure, latency_us=number
    )


async def main(root: Path, worker: UUID, pause: float) -> None:
    spool = Spool.open(root, worker, SpoolConfig(segment_bytes=20_000, min_free_bytes=0), SystemClock())
    keeping = asyncio.create_task(spool.run())
    number = 0
    while not keeping.done():
        event = made(worker, number)
        if spool.append(encode(event)):
            os.write(1, event.id.hex().encode() + b"\n")
        number += 1
        if number % 50 == 0:
            await asyncio.sleep(pause)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), UUID(sys.argv[2]), float(sys.argv[3])))
