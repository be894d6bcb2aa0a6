"""One failure for many: each of those who shared a call gets an exception of its own. Pure."""

import copy
from types import FunctionType
from typing import TypeVar

E = TypeVar("E", bound=BaseException)


def own_copy(error: E) -> E:
    """An equal exception of the same type, without traceback, caused by the same cause.

    Raising one instance for many would pile up their tracebacks in it, and what one of them writes into it the others
    would read. A type that can neither be copied nor made bare is shared as it is.
    """
    try:
        own = _copied(error)
    except TypeError:  # a type that insists on arguments of its own
        return error
    own.__traceback__ = None
    own.__cause__ = error.__cause__
    own.__suppress_context__ = True
    return own


def _copied(error: E) -> E:
    kind = type(error)
    if not isinstance(kind.__init__, FunctionType):
        return copy.copy(error)  # a built-in type keeps values outside `__dict__`, and knows how to copy them
    own = kind.__new__(kind, *error.args)  # not `__init__`: its arguments need not be those in `args`
    own.args = error.args
    own.__dict__.update(error.__dict__)
    return own
