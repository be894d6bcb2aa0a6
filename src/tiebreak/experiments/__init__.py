"""A/B tests: their definition, as file and as API body, and their lifecycle. What they measured is in `runs`."""
