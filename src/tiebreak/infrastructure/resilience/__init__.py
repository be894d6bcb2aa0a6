"""How calls behave when the other side does not: when to try again, how many at once."""
