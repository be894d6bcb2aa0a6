"""Accounts at vendors, their secrets and prices, and the calls made through them."""
