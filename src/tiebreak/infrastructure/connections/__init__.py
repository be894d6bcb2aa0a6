"""PostgreSQL (ours or the user's) and the one HTTP client for everything outbound."""
