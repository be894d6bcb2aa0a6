"""How calls behave when the other side does not: when to try again, when to stop asking, how many at once, and which
calls are one."""
