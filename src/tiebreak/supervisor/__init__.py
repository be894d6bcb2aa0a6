"""The parent of `serve`: N request workers and a background worker, kept running, restarted one by one, taken along."""
