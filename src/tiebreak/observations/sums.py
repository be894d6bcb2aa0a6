"""What is summed over the events of a unit, and the metrics that arms have from it.

The same text counts new events when they land and all of them in a recount.
"""

from typing import Final

# Metric → the columns of its count c and its total x in `unit_sums`.
METRICS: Final = {
    "requests": ("requests", "requests"),
    "errors": ("requests", "errors"),
    "fallbacks": ("requests", "fallbacks"),
    "cache_hits": ("requests", "cache_hits"),
    "attempts": ("requests", "attempts"),
    "latency_us": ("answered", "latency_us"),
    "first_token_us": ("streamed", "first_token_us"),
    "cost_nano": ("priced", "cost_nano"),
    "input_tokens": ("counted", "input_tokens"),
    "output_tokens": ("counted", "output_tokens"),
}
FEEDBACK_PREFIX: Final = "feedback:"  # of the metrics that come from feedback

COLUMNS: Final = (
    "requests",
    "answered",
    "errors",
    "fallbacks",
    "cache_hits",
    "attempts",
    "latency_us",
    "streamed",
    "first_token_us",
    "priced",
    "cost_nano",
    "counted",
    "input_tokens",
    "output_tokens",
)

# A row of sums for each unit, in the order of the columns of `unit_sums`; `@events` is where they come from.
OF_UNITS: Final = """
    select test_id, unit_key as unit, phase, variant, min(id::text collate "C")::uuid as first_event,
        count(*) as requests,
        count(*) filter (where error is null) as answered,
        count(*) filter (where error is not null) as errors,
        coalesce(sum(jsonb_array_length(fallbacks)), 0)::bigint as fallbacks,
        count(*) filter (where cache = 'hit') as cache_hits,
        sum(attempts)::bigint as attempts,
        coalesce(sum(latency_us) filter (where error is null), 0)::bigint as latency_us,
        count(first_token_us) filter (where error is null) as streamed,
        coalesce(sum(first_token_us) filter (where error is null), 0)::bigint as first_token_us,
        count(cost_nano) as priced,
        coalesce(sum(cost_nano), 0)::bigint as cost_nano,
        count(*) filter (where input_tokens is not null or output_tokens is not null) as counted,
        coalesce(sum(input_tokens), 0)::bigint as input_tokens,
        coalesce(sum(output_tokens), 0)::bigint as output_tokens
    from @events
    group by test_id, unit_key, phase, variant
"""
