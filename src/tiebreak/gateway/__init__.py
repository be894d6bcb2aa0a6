"""`/v1`: live traffic through tests and straight to providers, recorded."""
