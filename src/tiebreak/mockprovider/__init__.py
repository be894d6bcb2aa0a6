"""A vendor on loopback that says what it is: simulated and recorded models behind a real HTTP server."""
