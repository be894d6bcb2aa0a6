"""Results and verdicts: what a run's responses say about the variants of its test. `statistics` and `decide` are pure."""
