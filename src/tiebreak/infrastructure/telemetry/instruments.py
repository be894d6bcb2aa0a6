"""Every instrument of the product, declared once; `docs/reference.md` lists them.

Label values come from closed sets (surface, status class, failure) or are bounded by the instrument. Never a label per
user, test and model together: series multiply.
"""

from tiebreak.infrastructure.telemetry.metrics import Instrument

# Seconds. Our own overhead is below a millisecond, an upstream takes up to minutes.
SHORT = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
LONG = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0)

# -- requests, all surfaces: management, gateway, operations ---------------------------------------------------------
REQUESTS = Instrument(
    "tiebreak_requests_total",
    "Requests answered, by surface and class of status ('cut' when the client or the server ended it before a status)",
    "counter",
    ("surface", "status"),
)
REQUESTS_IN_FLIGHT = Instrument(
    "tiebreak_requests_in_flight", "Requests being served now", "gauge", ("surface",)
)
STREAMS_IN_FLIGHT = Instrument("tiebreak_gateway_streams_in_flight", "Streams being relayed now", "gauge")
BYTES_IN_FLIGHT = Instrument(
    "tiebreak_gateway_bytes_in_flight", "Bytes of requests and answers held now", "gauge"
)
REFUSALS = Instrument(
    "tiebreak_admission_refusals_total",
    "Requests refused because a bound was reached: requests, bytes or streams in flight",
    "counter",
    ("bound",),
)
OVERHEAD = Instrument(
    "tiebreak_gateway_overhead_seconds",
    "Time the gateway adds to a request, the upstream's time taken out",
    "histogram",
    ("surface",),
    buckets=SHORT,
)
UPSTREAM = Instrument(
    "tiebreak_gateway_upstream_seconds",
    "From the call upstream to its last byte",
    "histogram",
    ("provider",),
    buckets=LONG,
)
FIRST_TOKEN = Instrument(
    "tiebreak_gateway_first_token_seconds",
    "From the request to the first streamed token",
    "histogram",
    ("provider",),
    buckets=LONG,
)

# -- calls to providers ----------------------------------------------------------------------------------------------
ATTEMPTS = Instrument(
    "tiebreak_provider_attempts_total",
    "Calls sent to a provider, by outcome: 'ok' or the kind of failure",
    "counter",
    ("provider", "outcome"),
    most=500,
)
ATTEMPT_SECONDS = Instrument(
    "tiebreak_provider_attempt_seconds",
    "How long an attempt took, to the end of its stream",
    "histogram",
    ("provider",),
    buckets=LONG,
)
RETRIES = Instrument(
    "tiebreak_provider_retries_total", "Attempts after the first one", "counter", ("provider",)
)
HELD_BACK = Instrument(
    "tiebreak_provider_held_back_total",
    "Attempts that the breaker or a full queue kept from the wire",
    "counter",
    ("provider",),
)
SHARED = Instrument(
    "tiebreak_provider_shared_total",
    "Requests answered without a call of their own: from the cache, an equal one in flight, or a batch",
    "counter",
    ("provider", "origin"),
    most=300,
)
BREAKER = Instrument(
    "tiebreak_provider_breaker_state",
    "0 closed, 1 ramping, 2 half open, 3 open; of several circuits and processes the worst",
    "gauge",
    ("provider",),
    merge="max",
)

# -- the spool of events ---------------------------------------------------------------------------------------------
SPOOL_BYTES = Instrument("tiebreak_spool_bytes", "Bytes of events that are not in the database yet", "gauge")
SPOOL_LAG = Instrument(
    "tiebreak_spool_lag_seconds",
    "Age of the oldest event that is not in the database yet",
    "gauge",
    merge="max",
)
SPOOL_DROPPED = Instrument(
    "tiebreak_spool_dropped_total", "Events given up because the spool was full", "counter"
)
SPOOL_TORN = Instrument("tiebreak_spool_torn_total", "Torn tails cut from spool files", "counter")

# -- processes: 'process' is requests-0, requests-1, …, background or supervisor ---------------------------------------
PROCESS_RSS = Instrument(
    "tiebreak_process_resident_bytes", "Resident memory", "gauge", ("process",), merge="last"
)
PROCESS_CPU = Instrument(
    "tiebreak_process_cpu_seconds_total", "CPU time, user and system", "counter", ("process",)
)
PROCESS_FDS = Instrument(
    "tiebreak_process_open_fds", "Open file descriptors", "gauge", ("process",), merge="last"
)
LOOP_LAG = Instrument(
    "tiebreak_loop_lag_seconds",
    "How late the event loop runs what is due, measured eight times a second",
    "histogram",
    ("process",),
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0),
)
RESTARTS = Instrument(
    "tiebreak_process_restarts_total", "Children started again by the supervisor", "counter", ("process",)
)
STALLS = Instrument(
    "tiebreak_process_stalls_total",
    "Times a request worker's event loop was silent for 2 s",
    "counter",
    ("process",),
)

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Instrument))
