"""One module per wire dialect: our request to its bytes, its bytes to our response."""
