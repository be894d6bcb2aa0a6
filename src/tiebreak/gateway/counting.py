"""What the gateway counts of its exchanges, apart from what all requests are counted by."""

from tiebreak.gateway.asking import Took
from tiebreak.infrastructure.middleware.admission import Admission, Bound, Bounds
from tiebreak.infrastructure.telemetry import instruments
from tiebreak.infrastructure.telemetry.metrics import Histogram, Metrics
from tiebreak.observations.spool import Spool


class Counters:
    """The gateway's series in a process's metrics; those in use are kept at hand."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._overhead: dict[str, Histogram] = {}
        self._upstream: dict[str, tuple[Histogram, Histogram]] = {}

    def admission(self, bounds: Bounds) -> Admission:
        """An admission whose figures are read with the metrics."""
        admission = Admission(bounds, self._refused)
        streams = self._metrics.number(instruments.STREAMS_IN_FLIGHT)
        held = self._metrics.number(instruments.BYTES_IN_FLIGHT)

        def read() -> None:
            streams.set(admission.streams)
            held.set(admission.bytes)

        self._metrics.read_before(read)
        return admission

    def watch(self, spool: Spool) -> None:
        """Read the spool's figures with the metrics."""
        stored = self._metrics.number(instruments.SPOOL_BYTES)
        dropped = self._metrics.number(instruments.SPOOL_DROPPED)

        def read() -> None:
            stored.set(spool.stored_bytes)
            dropped.set(spool.dropped)

        self._metrics.read_before(read)

    def ended(self, surface: str, provider: str, took: Took, overhead: float) -> None:
        """An exchange has its record."""
        if (series := self._overhead.get(surface)) is None:
            series = self._overhead[surface] = self._metrics.histogram(instruments.OVERHEAD, surface)
        series.observe(overhead)
        if (pair := self._upstream.get(provider)) is None:
            pair = self._upstream[provider] = (
                self._metrics.histogram(instruments.UPSTREAM, provider),
                self._metrics.histogram(instruments.FIRST_TOKEN, provider),
            )
        pair[0].observe(took.upstream)
        if took.first_token is not None:
            pair[1].observe(took.first_token)

    def _refused(self, bound: Bound) -> None:
        self._metrics.number(instruments.REFUSALS, bound).add()
