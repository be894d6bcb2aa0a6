"""Conventions of the management API: problem+json, cursor pages, idempotent creation."""
