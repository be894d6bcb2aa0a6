"""What happened: one event per live request and what was said of it, from the spool to PostgreSQL to running sums."""
