"""How far the values of a provider's configuration may go, for its settings, its API and its file alike."""

from typing import Annotated

from pydantic import Field

Timeout = Annotated[
    float, Field(ge=0.1, le=3600, allow_inf_nan=False, description="Seconds for one attempt, from end to end")
]
Retries = Annotated[int, Field(ge=0, le=10, description="After the first attempt of a call")]
BatchSize = Annotated[
    int, Field(ge=1, le=2048, description="Calls of one kind that go together at most; 1 turns batching off")
]
BatchWait = Annotated[
    int, Field(ge=0, le=10_000, description="Milliseconds that a call waits at most for others to go with")
]
CacheEnabled = Annotated[bool, Field(description="Keep answers to deterministic requests outside tests")]
CacheSeconds = Annotated[
    int, Field(ge=1, le=30 * 86_400, description="Seconds that the cache keeps an answer")
]
