"""What was fetched once and may be given again: a small protocol, and who keeps it."""
