"""A budget of time and size for every rendering of a Jinja template, counted in steps.

Templates come from strangers: a model's chat template, a file of prompts, a recipe. Jinja's sandbox
keeps them from the machine, not from looping for ever or asking for `'a' * 10**10`. A clock would
stop the same row on one machine and not on another, and no clock stops a single call in C. So the
work is counted before it is done: a turn of a loop, a call, and each character or item that an
operator, a filter or a method would make. Operators, calls and filters go through functions that
count, loops and printed constants get a node that counts; what a value costs is told from its size.

A step is about the work of making one character, and a turn or call counts as several. The budget
is generous: a second of looping, or 10 MB of text, and more for a row that is itself large.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import wraps
from types import GeneratorType
from typing import Any, TypeVar, cast

import jinja2
from jinja2 import nodes, pass_context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

STEPS = 10_000_000
STEPS_PER_CHARACTER = 50
"""More steps for each character of the values that are rendered."""
TURN, CALL, ITEM = 20, 100, 5
MAX_SOURCE = 200_000
"""Characters of a template; the longest chat templates have 30,000."""
MAX_LEVELS = 150
"""Of a template's syntax tree; a sum of 150 terms has as many."""
MAX_BITS = 100_000
"""Of a whole number: 30,000 digits. Arithmetic on much longer ones takes minutes in one call."""
MAX_DEPTH = 100
UNPAYABLE = 10**18
LONG_TEXT = 64
"""A template's own texts that are shorter are paid with the turn or call that prints them."""


T = TypeVar("T")


class OverBudget(jinja2.TemplateRuntimeError):
    """A template that would take more steps, or make a larger value, than a rendering may."""


class Meter:
    """The steps that are left to one rendering."""

    __slots__ = ("left", "values")

    def __init__(self, values: object = None) -> None:
        self.left = STEPS
        self.values = values

    def charge(self, steps: int) -> None:
        """OverBudget where so many are not left."""
        self.left -= steps
        while self.left < 0:
            if not self.extend():
                raise OverBudget("takes more steps than a rendering may, or makes too large a text")

    def extend(self) -> bool:
        """Add what a large row may take, which is counted when it is needed, and once."""
        values, self.values = self.values, None
        self.left += 0 if values is None else STEPS_PER_CHARACTER * _walk(values, Meter())
        return values is not None


_METER: ContextVar[Meter | None] = ContextVar("meter", default=None)


def _meter() -> Meter:
    """The rendering's; one of its own for constants, which Jinja works out as it compiles."""
    return _METER.get() or Meter()


class MeteredTemplate(jinja2.Template):
    """A template each of whose renderings has a budget."""

    def render(self, *args: Any, **kwargs: Any) -> str:
        """As Jinja's; OverBudget too."""
        token = _METER.set(Meter((args, kwargs)))
        try:
            return super().render(*args, **kwargs)
        except RecursionError as error:
            raise OverBudget("calls itself without end, or nests too deeply") from error
        except MemoryError as error:
            raise OverBudget("needs more memory than there is") from error
        finally:
            _METER.reset(token)


def put_under_budget(environment: SandboxedEnvironment) -> None:
    """Every template that is made with `compile_template` in this environment is then metered."""
    call, finalize = environment.call, environment.finalize
    parse = environment.parse

    def priced_call(context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            args = _listed(args)
            price = _price_of_call(function, args, kwargs)
        else:
            price = _length(getattr(function, "__self__", None))
        _meter().charge(CALL + price)
        return _admitted(call(context, function, *args, **kwargs))

    def priced_output(value: Any) -> Any:
        _meter().charge(size(value))
        return value if finalize is None else finalize(value)

    def bounded_parse(source: str, *args: Any, **kwargs: Any) -> nodes.Template:
        _check_length(source)
        tree = _limited(lambda: parse(source, *args, **kwargs))
        _check_levels(tree)
        return tree

    environment.filters.update(
        {name: _priced(name, function) for name, function in environment.filters.items()}
        | {"_spend": _spend, "_sized": _sized, "_key": _key}
    )
    environment.tests.update(
        {name: _compared(environment.tests[name]) for name in COMPARISONS & {*environment.tests}}
    )
    environment.template_class = MeteredTemplate
    environment.intercepted_binops = frozenset({"+", "*", "**", "%"})
    vars(environment).update(
        call=priced_call,
        call_binop=lambda context, operator, a, b: _binop(environment, operator, a, b),
        finalize=priced_output,
        parse=bounded_parse,
    )


def compile_template(environment: SandboxedEnvironment, tree: nodes.Template) -> jinja2.Template:
    """A parsed template with counters in it; TemplateSyntaxError where it nests too deeply."""
    return _limited(lambda: environment.from_string(_Counting().visit(tree)))


def _check_length(source: str) -> None:
    if len(source) > MAX_SOURCE:
        raise jinja2.TemplateSyntaxError(
            f"the template has {len(source):,} characters, more than {MAX_SOURCE:,}", 1
        )


def _check_levels(tree: nodes.Template) -> None:
    """So that whoever goes down the tree by recursion gets to its ground."""
    waiting: list[tuple[nodes.Node, int]] = [(tree, 1)]
    while waiting:
        node, level = waiting.pop()
        if level > MAX_LEVELS:
            raise jinja2.TemplateSyntaxError("it nests too deeply", 1)
        waiting.extend((child, level + 1) for child in node.iter_child_nodes())


def _limited(work: Callable[[], T]) -> T:
    """Parsing and compiling go down the tree by recursion, and Python's own parser has limits."""
    try:
        return work()
    except (RecursionError, MemoryError, SyntaxError, ValueError) as error:
        what = str(error) if isinstance(error, ValueError) else "it nests too deeply"
        raise jinja2.TemplateSyntaxError(what, 1) from error


# ---- what values cost


COLLECTIONS: tuple[type[Iterable[object]], ...] = (
    list,
    tuple,
    set,
    frozenset,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)
"""By their own types: to ask for Iterable or Set takes longer than most renderings."""


def size(value: object) -> int:
    """Characters and items of a value as it would be written out, so that what it holds several
    times counts several times; UNPAYABLE where that is more than is left, or deeper than MAX_DEPTH.
    """
    if isinstance(value, (str, bytes)):
        return len(value)
    return 1 if isinstance(value, float) or value is None else _walk(value, _meter())


def _walk(value: object, meter: Meter) -> int:
    total, waiting = 0, [(value, 0)]
    while waiting:
        found, depth = waiting.pop()
        total += ITEM
        if isinstance(found, (str, bytes)):
            total += len(found)
            continue
        if isinstance(found, int):
            total += abs(found).bit_length() // 3
        inner = _items(found)
        if inner is not None:
            waiting.extend((item, depth + 1) for item in inner)
        if depth > MAX_DEPTH or (total + len(waiting) > meter.left and not meter.extend()):
            return UNPAYABLE
    return total


def _items(value: object) -> Iterable[object] | None:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, Namespace):
        return [value._Namespace__attrs]  # which it is printed with
    return value if isinstance(value, COLLECTIONS) else None


def _length(value: object) -> int:
    """Of a text or collection, what it holds not looked at."""
    if isinstance(value, (str, bytes, list, tuple, dict, set, frozenset, range)):
        return len(value)
    return 1


def _shallow(args: Sequence[object], kwargs: Mapping[str, object]) -> int:
    return sum(map(_length, args)) + sum(map(_length, kwargs.values()))


def _deep(args: Sequence[object], kwargs: Mapping[str, object]) -> int:
    return sum(map(size, (*args, *kwargs.values())))


def _admitted(value: Any) -> Any:
    """A result, paid for; one that makes its items later pays for each then."""
    if type(value) is str or isinstance(value, (str, list, tuple)):
        _meter().charge(len(value))
    elif isinstance(value, int):
        _check_bits(value.bit_length())
    elif isinstance(value, GeneratorType):
        return _counted(value)
    return value


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _meter().charge(TURN + _length(item))
        yield item


def _listed(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """What iterators still hold, as lists: one whose items are all taken in a single call could not
    be priced before.
    """
    if not any(hasattr(arg, "__next__") for arg in args):
        return args
    return tuple(list(_counted(arg)) if hasattr(arg, "__next__") else arg for arg in args)


def _check_bits(bits: int) -> None:
    if bits > MAX_BITS:
        raise OverBudget(f"makes a whole number of more than {MAX_BITS // 10 * 3:,} digits")


# ---- operators


def _binop(environment: SandboxedEnvironment, operator: str, a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        if operator == "**":
            _check_bits(a.bit_length() * max(b, 0))
        elif operator == "*":
            _check_bits(a.bit_length() + b.bit_length())
    elif operator == "*":
        times = next((x for x in (a, b) if isinstance(x, int)), 1)
        _meter().charge(_length(a) * _length(b) * max(times, 0))
    elif operator == "%" and isinstance(a, (str, bytes)):
        _meter().charge(_price_of_format(a, b if isinstance(b, tuple) else (b,), {}))
    elif operator == "+":
        _meter().charge(_length(a) + _length(b))
    return environment.binop_table[operator](a, b)


@pass_context
def _spend(context: Any, value: object, steps: int) -> object:
    """For nodes that `_Counting` puts in; the context keeps Jinja from working it out once."""
    _meter().charge(steps)
    return value


@pass_context
def _sized(context: Any, value: object) -> object:
    """A value that is about to be compared, searched, copied or written."""
    _meter().charge(size(value))
    return value


@pass_context
def _key(context: Any, value: object) -> object:
    """A key of a dict: the hash of a tuple is worked out anew each time, all the way down."""
    if isinstance(value, tuple):
        _meter().charge(size(value))
    return value


# ---- filters, tests and calls

AT_A_GLANCE = {
    "length", "count", "first", "last", "default", "d", "attr", "list", "map", "select", "reject",
    "selectattr", "rejectattr", "items", "random", "choice", "reverse",
}  # fmt: skip
"""Filters that do not look into the items of a list, or only one at a time."""
COMPARISONS = {
    "eq", "==", "equalto", "ne", "!=", "lt", "<", "lessthan", "le", "<=", "gt", ">", "greaterthan",
    "ge", ">=", "in",
}  # fmt: skip
OWN = {"_like"}
"""Filters of our own nodes that take constant time."""

Price = Callable[[Sequence[Any], Mapping[str, Any]], int]


def _priced(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    if name in OWN:
        return function
    first = 1 if hasattr(function, "jinja_pass_arg") else 0
    alone, plain, takes_all = first + 1, name not in PRICES, name not in AT_A_GLANCE
    price = PRICES.get(name, _deep if takes_all else _shallow)

    @wraps(function)
    def priced(*args: Any, **kwargs: Any) -> Any:
        if plain and len(args) == alone and type(args[first]) is str and not kwargs:
            steps = len(args[first])
        else:
            if takes_all:
                args = _listed(args)
            steps = price(args[first:], kwargs)
        _meter().charge(CALL + steps)
        return _admitted(function(*args, **kwargs))

    return priced


def _compared(function: Any) -> Callable[..., bool]:
    @wraps(function)
    def compared(*args: Any) -> bool:
        _meter().charge(CALL + _deep(args, {}))
        return bool(function(*args))

    return compared


def _price_of_call(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Of a function or method, by its name and what it belongs to."""
    name = getattr(function, "__name__", "")
    owner = getattr(getattr(function, "__wrapped__", function), "__self__", None)
    if name in PRICES and (owner is not None or name in FUNCTIONS):
        given = args if owner is None else (owner, *args)
        return PRICES[name](given, kwargs)
    # most methods take as long as the text or list is; those of a dict do not
    return _shallow(args, kwargs) + (0 if isinstance(owner, dict) else _length(owner))


def _argument(
    args: Sequence[Any], kwargs: Mapping[str, Any], place: int, name: str, default: Any = 0
) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


def _number(value: object) -> int:
    """How many characters a width asks for; a text in its place is repeated as it is."""
    return abs(value) if isinstance(value, int) else _length(value)


def _price_of_width(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """`center`, `ljust`, `zfill`, `batch`, `slice`, `round`, `to_bytes`: numbers ask for a size."""
    numbers = [*args[1:2], *kwargs.values()]
    return _deep(args, kwargs) + sum(map(_number, numbers))


def _price_of_each_line(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """`indent`, `expandtabs`: a width for each line or tab."""
    if size(args[0]) >= UNPAYABLE:
        return UNPAYABLE
    text = str(args[0])
    width = max(map(_number, (*args[1:], *kwargs.values())), default=0)
    return len(text) + width * (1 + text.count("\n") + text.count("\t") + text.count("\r"))


def _price_of_replacing(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    whole = _deep(args, kwargs)
    if whole >= UNPAYABLE or len(args) < 3:
        return whole
    if isinstance(args[0], bytes):
        return whole + _price_of_product(args, kwargs)
    text, old, new = map(str, args[:3])
    return whole + text.count(old) * len(new)


def _price_of_joining(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """`[...] | join(d)` and `d.join([...])`."""
    between = _argument(args, kwargs, 1, "d", "")
    return _deep(args, kwargs) + _length(args[0]) * _length(between)


def _price_of_product(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Where each character of the first may become as much as all the others together."""
    first, others = size(args[0]) if args else 1, [*args[1:], *kwargs.values()]
    return first * (10 + sum(map(size, others)))


def _price_of_cutting(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """`striptags` copies the text for each tag, which is fast."""
    whole = _deep(args, kwargs)
    tags = args[0].count("<") if isinstance(args[0], str) else 1
    return whole * (1 + tags // 50)


def _price_of_layout(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """`title` and `pprint` go through a text word by word."""
    return 10 * _deep(args, kwargs)


def _price_of_json(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    return 2 * _deep(args[:1], {}) * (1 + _number(_argument(args, kwargs, 1, "indent") or 0))


def _price_of_sum(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Of numbers as many; of lists each sum is a copy of all before it."""
    start = _argument(args, kwargs, 2, "start")
    return _deep(args, kwargs) * (_length(args[0]) if isinstance(start, (list, tuple)) else 1)


def _price_of_format(text: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Widths stand in the text or, as `*` and nested braces, among the values."""
    if size(text) >= UNPAYABLE:
        return UNPAYABLE
    source = str(text)
    fields = source.count("%") + source.count("{")
    total = len(source) + fields * _deep(args, kwargs)
    total += sum(
        int(digits) if len(digits) < 12 else UNPAYABLE for digits in re.findall(r"\d+", source)
    )
    if "*" in source or re.search(r"\{[^}]*\{", source):
        total += fields * sum(map(_number, (*args, *kwargs.values())))
    return total


def _formatted(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    return _price_of_format(args[0], args[1:], kwargs)


def _asked_for(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """`lipsum(n, html, min, max)`: n paragraphs of max words."""
    number = _number(_argument(args, kwargs, 0, "n", 5))
    return 20 * number * max(map(_number, (*args, *kwargs.values(), 100)))


def _bits_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    bits = 8 * _deep(args, kwargs)
    _check_bits(bits)
    return bits


def _price_of_item(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """`value[key]` in our own templates; see `_key`."""
    return size(args[1]) if isinstance(args[1], tuple) else 0


FUNCTIONS = {"generate_lorem_ipsum", "strftime_now"}
PRICES: dict[str, Price] = {
    **dict.fromkeys(
        ("center", "ljust", "rjust", "zfill", "batch", "slice", "round", "to_bytes"),
        _price_of_width,
    ),
    **dict.fromkeys(("indent", "expandtabs"), _price_of_each_line),
    **dict.fromkeys(("wordwrap", "urlize", "translate", "xmlattr"), _price_of_product),
    **dict.fromkeys(("format", "format_map", "strftime", "strftime_now"), _formatted),
    **dict.fromkeys(("title", "pprint"), _price_of_layout),
    "striptags": _price_of_cutting,
    "_item": _price_of_item,
    "replace": _price_of_replacing,
    "join": _price_of_joining,
    "tojson": _price_of_json,
    "sum": _price_of_sum,
    "generate_lorem_ipsum": _asked_for,
    "from_bytes": _bits_of,
}


# ---- the tree


class _Counting(NodeTransformer):
    """Puts counters where no function of the environment is called: loops, long texts, slices,
    comparisons, keys and `~`.
    """

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_spending(nodes.Const(None), TURN), lineno=node.lineno))
        if node.test is not None:
            node.test = _spending(cast(nodes.Expr, node.test), TURN)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.generic_visit(node)
        long = sum(
            len(part.data)
            for part in node.nodes
            if isinstance(part, nodes.TemplateData) and len(part.data) > LONG_TEXT
        )
        if long:
            node.nodes.insert(0, _spending(nodes.Const(""), long))
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return _applied("_sized", node) if node.ctx == "load" else node
        if not isinstance(node.arg, nodes.Const):
            node.arg = _applied("_key", node.arg)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.key, nodes.Const):
            node.key = _applied("_key", node.key)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [_measured(part) for part in node.nodes]
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        """Two values are compared as far as they agree; a constant is short."""
        self.generic_visit(node)
        if not isinstance(node.expr, nodes.Const) or node.ops[0].op in ("in", "notin"):
            for operand in node.ops:
                operand.expr = _measured(operand.expr)
        return node


def _measured(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else _applied("_sized", node)


def _spending(node: nodes.Expr, steps: int) -> nodes.Filter:
    return nodes.Filter(
        node, "_spend", [nodes.Const(steps)], [], None, None, lineno=node.lineno or 1
    )


def _applied(name: str, node: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
