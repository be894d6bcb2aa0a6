"""What the product says about itself: logs on stderr, without secrets."""
