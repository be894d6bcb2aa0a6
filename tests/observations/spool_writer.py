"""A process that appends numbered records and says each one that was taken, until it is killed."""

import asyncio
import os
import sys
from pathlib import Path
from uuid import UUID

from tiebreak.clock import SystemClock
from tiebreak.observations.spool import Spool, SpoolConfig


async def main(root: Path, worker: UUID) -> None:
    spool = Spool.open(root, worker, SpoolConfig(segment_bytes=20_000), SystemClock())
    keeping = asyncio.create_task(spool.run())
    number = 0
    while not keeping.done():
        if spool.append(b"%08d" % number * 40):
            os.write(1, b"%08d\n" % number)
        number += 1
        if number % 50 == 0:
            await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), UUID(sys.argv[2])))
