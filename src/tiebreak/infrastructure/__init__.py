"""The floor: knows no feature. Connections, resilience, middleware, REST conventions, telemetry."""
