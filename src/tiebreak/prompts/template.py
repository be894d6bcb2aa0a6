"""Prompt templates: a small, sandboxed part of Jinja2.

A template prints values, decides, and goes through lists; it defines no macros, includes no files and calls nothing
but a few text methods. What it makes, on the way and at the end, is limited in size, and so is the number of turns of
its loops, so that a template cannot stop the worker that renders it.
"""

import functools
import json
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import Any, cast

from jinja2 import StrictUndefined, TemplateError, meta, nodes, pass_context
from jinja2.environment import Template
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from tiebreak.errors import Fault, InvalidInput

MAX_OUTPUT = 1_000_000  # characters of a rendered message
MAX_VALUE = 20_000_000  # characters or entries of a value on the way: twice a line of a dataset
MAX_TURNS = 100_000  # of all loops of one rendering together

# Names with a space: no template can spell them.
_TURNS = "turns left"
_COUNTED = "counted loop"

_STATEMENTS = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign)
_VALUES = (nodes.Name, nodes.Const, nodes.Tuple, nodes.List, nodes.Dict, nodes.Pair, nodes.Keyword)
_ACCESS = (nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Call, nodes.Filter, nodes.Test)
_LOGIC = (nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Concat)
_ARITHMETIC = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos)
_ALLOWED = (*_STATEMENTS, *_VALUES, *_ACCESS, *_LOGIC, *_ARITHMETIC)
_METHODS = frozenset(
    {"capitalize", "count", "cycle", "endswith", "find", "get", "items", "keys", "lower", "lstrip"}
    | {"rstrip", "split", "splitlines", "startswith", "strip", "title", "upper", "values"}
)
_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "last"),
    *("length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "round", "select"),
    *("selectattr", "sort", "string", "sum", "title", "trim", "truncate", "unique", "upper", "urlencode"),
    "wordcount",
)
# Everything an expression over JSON values can raise; the sandbox keeps it from doing more than that.
_FAILURES = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def _bounded(value: Any) -> Any:
    if isinstance(value, (str, list, tuple, dict)) and len(value) > MAX_VALUE:
        raise SecurityError(f"a value grows over {MAX_VALUE} characters or entries")
    return value


def _bounded_filter(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        return _bounded(function(*args, **options))

    return call


def _join(values: Iterable[Any], d: str = "") -> str:
    texts: list[str] = []
    size = 0
    for value in values:
        texts.append(str(value))
        size += len(texts[-1]) + len(d)
        if size > MAX_VALUE:
            raise SecurityError(f"a text joined to over {MAX_VALUE} characters")
    return d.join(texts)


def _replace(value: Any, old: str, new: str) -> str:
    text = str(value)
    if len(text) + text.count(old) * len(new) > MAX_VALUE:
        raise SecurityError(f"a text grows over {MAX_VALUE} characters by `replace`")
    return text.replace(old, new)


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@pass_context
def _counted(context: Context, values: Iterable[Any]) -> Iterator[Any]:
    turns: Iterator[int] = context.parent[_TURNS]
    for value in values:
        if next(turns, None) is None:
            raise SecurityError(f"the loops turn more than {MAX_TURNS} times")
        yield value


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset("+*%")

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
        own = {"join": _join, "replace": _replace, "tojson": _to_json}
        known = {name: self.filters[name] for name in _FILTERS} | own
        self.filters = {name: _bounded_filter(function) for name, function in known.items()}
        self.filters[_COUNTED] = _counted
        self.globals = {"range": self.globals["range"]}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        both = (left, right)
        if operator != "+" and not all(isinstance(value, int | float) for value in both):
            raise SecurityError(f"`{operator}` is for numbers")
        if any(isinstance(value, int) and abs(value) > 2**64 for value in both):
            raise SecurityError(f"`{operator}` on a number beyond 64 bits")
        return _bounded(super().call_binop(context, operator, left, right))

    def getattr(self, obj: Any, attribute: str) -> Any:
        # An item may have a key called "items" or "values"; its value is meant, not the method of dict.
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


_ENVIRONMENT = _Environment()


def _refusal(node: nodes.Node) -> str | None:
    if not isinstance(node, _ALLOWED):
        return f"`{type(node).__name__.lower()}` is not part of prompt templates"
    if isinstance(node, nodes.Call):
        callee = node.node
        known = (isinstance(callee, nodes.Getattr) and callee.attr in _METHODS) or (
            isinstance(callee, nodes.Name) and callee.name == "range"
        )
        return (
            None if known else f"only `range` and these methods can be called: {', '.join(sorted(_METHODS))}"
        )
    if isinstance(node, nodes.For) and node.recursive:
        return "`recursive` loops are not part of prompt templates"
    if isinstance(node, nodes.Name) and node.name == "self":
        return "`self` is not a variable; call the input something else"
    return None


class _Limits(NodeTransformer):
    """Refuses what is not part of prompt templates and puts loops and concatenations under the limits."""

    def generic_visit(self, node: nodes.Node, *args: Any, **options: Any) -> nodes.Node:
        if (reason := _refusal(node)) is not None:
            raise TemplateSyntaxError(reason, node.lineno)
        return super().generic_visit(node, *args, **options)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802  Jinja2 calls it by this name
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "join")

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  Jinja2 calls it by this name
        self.generic_visit(node)
        node.iter = _filtered(node.iter, _COUNTED)
        return node


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(cast("nodes.Expr", node), name, [], [], None, None, lineno=node.lineno)


def _invalid(message: str, line: int | None = None) -> InvalidInput:
    place = "" if line is None else f"line {line}: "
    fault = Fault("", message, line=line, column=None if line is None else 1)
    return InvalidInput(f"the template cannot be used: {place}{message}", faults=[fault])


def _parse(template: str) -> nodes.Template:
    try:
        return _ENVIRONMENT.parse(template)
    except TemplateSyntaxError as exc:
        raise _invalid(str(exc.message), exc.lineno) from exc
    except (RecursionError, ValueError) as exc:
        raise _invalid(f"it is too deeply nested, or holds a number too long ({type(exc).__name__})") from exc


def _required(tree: nodes.Template) -> frozenset[str]:
    """The variables looked up, without those the template itself asks about (`x is defined`, `x|default('')`)."""
    uses = tree.find_all((nodes.Test, nodes.Filter))
    guards = [use for use in uses if use.name in ("defined", "undefined", "default", "d")]
    optional = {guard.node.name for guard in guards if isinstance(guard.node, nodes.Name)}
    return frozenset(meta.find_undeclared_variables(tree) - optional - _ENVIRONMENT.globals.keys())


def _compiled(template: str) -> tuple[Template, frozenset[str]]:
    tree = _parse(template)
    try:
        required = _required(tree)
        return _ENVIRONMENT.from_string(_Limits().visit(tree)), required
    except TemplateSyntaxError as exc:
        raise _invalid(str(exc.message), exc.lineno) from exc
    except (RecursionError, SyntaxError, MemoryError) as exc:
        # Python's own compiler refuses code nested too deeply in one of these three ways.
        raise _invalid(f"it is too deeply nested ({type(exc).__name__})") from exc


def variables(template: str) -> frozenset[str]:
    """The inputs a template cannot do without.

    Raises:
        InvalidInput: not a template, or it uses more of Jinja2 than prompts may; says the line.
    """
    return _compiled(template)[1]


def _text(template: Template, inputs: Mapping[str, Any]) -> str:
    chunks: list[str] = []
    size = 0
    for chunk in template.generate({**inputs, _TURNS: iter(range(MAX_TURNS))}):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_OUTPUT:
            raise SecurityError(f"it makes a message of over {MAX_OUTPUT} characters")
    return "".join(chunks)


def compile(template: str) -> Callable[[Mapping[str, Any]], str]:  # noqa: A001  as in re.compile
    """A function from an item's inputs to the text; for more than one rendering of a template.

    Both raise InvalidInput: this one for a broken template, the function for a missing variable (before it renders
    anything) and for whatever the inputs make go wrong.
    """
    code, required = _compiled(template)

    def render(inputs: Mapping[str, Any]) -> str:
        if missing := sorted(required - inputs.keys()):
            raise _missing(missing, inputs)
        try:
            return _text(code, inputs)
        except _FAILURES as exc:
            raise _invalid(str(exc) or type(exc).__name__, _line(exc)) from exc

    return render


def render(template: str, inputs: Mapping[str, Any]) -> str:
    """The text for one item's inputs; raises as `compile` does."""
    return compile(template)(inputs)


def _missing(names: list[str], inputs: Mapping[str, Any]) -> InvalidInput:
    there = ", ".join(sorted(inputs)) or "none"
    message = f"the template needs {', '.join(map(repr, names))}; the inputs there are: {there}"
    return InvalidInput(message, faults=[Fault("", message)])


def _line(exc: BaseException) -> int | None:
    lines = [line for frame, line in traceback.walk_tb(exc.__traceback__) if _is_template(frame)]
    return lines[-1] if lines else None


def _is_template(frame: FrameType) -> bool:
    return frame.f_code.co_filename == "<template>"
