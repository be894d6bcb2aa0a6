"""Coverage-guided fuzzing of every reader of vendors' bytes: `make fuzz`, for the night; the suite mutates blindly.

`python -m tests.fuzz [libFuzzer's options]` runs until an input breaks a promise or the time is over.
"""

import sys

import atheris

with atheris.instrument_imports(include=["tiebreak.providers", "tiebreak.infrastructure.resilience"]):
    from tests.providers.adapters.mutations import HEADERS, PLAIN, Slowest, seeds, ways

DIALECTS = sorted(PLAIN)
LONGEST = 0.05  # seconds of CPU; five times what is promised, because instruments are slow


def one(data: bytes) -> None:
    """The first bytes choose dialect, cut and headers; the rest is the body, alone or inside a valid answer."""
    given = atheris.FuzzedDataProvider(data)
    dialect = given.PickValueInList(DIALECTS)
    headers = {
        given.PickValueInList(HEADERS): given.ConsumeUnicode(given.ConsumeIntInRange(0, 60)) for _ in range(2)
    }
    good = given.PickValueInList([b"", *seeds(dialect)])
    place = given.ConsumeIntInRange(0, len(good))
    body = good[:place] + given.ConsumeBytes(given.remaining_bytes()) + good[place:]
    slowest = Slowest()
    for name, call in ways(dialect, body, place, headers):
        slowest.timed(f"{dialect} {name}", call)
    if slowest.seconds > LONGEST:
        raise TimeoutError(f"{slowest.what} took {slowest.seconds * 1000:.0f} ms")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
