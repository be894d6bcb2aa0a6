"""What an operator asks a running server: is it well, which one is it."""
