"""The vendors' words: one module per wire format, and one for what the endpoints of a vendor share."""
