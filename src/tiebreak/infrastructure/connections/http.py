"""Everything outbound goes through one `send()`; aiohttp stands behind it.

The check against private addresses is made on the address that is connected to, not on the name, so that a name
that resolves differently the second time gains nothing.
"""
