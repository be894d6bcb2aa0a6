"""Files that people write: YAML and JSON read within limits, every fault with its place."""
