"""The jinja environment every template is rendered in: sandboxed, strict, and the same bytes on
every machine.

A source is parsed once and its tree is changed in three ways before it is compiled (see `_Strict`):
the separator in the template's own text becomes a private mark, so a `|||` inside a value can never
split; an index or a comparison that Python would let pass in silence is checked; and a bare `self`
is refused. Values are never changed by rendering.
"""

from __future__ import annotations

import hashlib
import json
import operator
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from statistics import multimode
from typing import Any, NamedTuple, NoReturn

import jinja2
from jinja2 import StrictUndefined, Undefined, meta, nodes, pass_context, pass_environment
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from tunesmith.data.sources.answers import printed_text
from tunesmith.errors import TemplateError, did_you_mean
from tunesmith.jinja_budget import OverBudget, compile_template, put_under_budget

SEPARATOR = "|||"
# stands for the separator while rendering; noncharacters, which no text contains
MARK = "\ufdd0\ufdd1\ufdd2"
OVER_BUDGET = "look for loops in loops, `*`, and texts or lists that double"
_DRAWS, _FIT_TO = "draws of this render", "fit to"  # context keys no template can spell


class Draws:
    """Random numbers from a text key: draw i is the SHA-256 of `key`, a zero byte and i, on every
    machine.
    """

    def __init__(self, key: str) -> None:
        self.key, self.count = key, 0

    def below(self, n: int) -> int:
        """The next number, from 0 to n - 1."""
        digest = hashlib.sha256(f"{self.key}\0{self.count}".encode()).digest()
        self.count += 1
        return int.from_bytes(digest[:8], "big") % n


class DrawKeys(NamedTuple):
    """The keys of one row's draws: the template's text and its answer_choices draw apart."""

    body: str
    choices: str


def draw_keys(seed: int, template_id: str, row_id: str) -> DrawKeys:
    """The keys for one row in one template, which no other row or template shares."""
    key = "\x1f".join((str(seed), template_id, row_id))
    return DrawKeys(key, f"{key}\x1fchoices")


def render(
    template_source: str,
    values: Mapping[str, object],
    *,
    rng_key: str,
    where: str = "template",
    fit_to: int | None = None,
) -> str:
    """The text of one row. `rng_key` decides `choice` and `random`; `where` starts every error
    message.

    Columns are names of the template; `row["a-b"]` reaches those that are no jinja name. A field
    marked with the filter `fit` keeps at most `fit_to` characters, cut between words. Raises
    TemplateError for a missing column, a None that would be printed, an index out of range, text
    where a number is needed, and everything jinja refuses.
    """
    return _render(template_source, values, rng_key, where, fit_to).replace(MARK, SEPARATOR)


def render_parts(
    template_source: str,
    values: Mapping[str, object],
    *,
    rng_key: str,
    where: str = "template",
    fit_to: int | None = None,
) -> list[str]:
    """As `render`, then split on the separators the template wrote (not those inside values); parts
    are stripped.
    """
    return [
        part.strip()
        for part in _render(template_source, values, rng_key, where, fit_to).split(MARK)
    ]


def _render(
    source: str, values: Mapping[str, object], rng_key: str, where: str, fit_to: int | None
) -> str:
    try:
        template = _compile(source)
        own = {name: _own(value, name) for name, value in values.items()}
        return template.render({"row": own, **own, _DRAWS: Draws(rng_key), _FIT_TO: fit_to})
    except TemplateError as error:
        raise TemplateError(f"{where}: {error.message}", hint=error.hint) from error
    except OverBudget as error:
        raise TemplateError(f"{where}: the template {error}", hint=OVER_BUDGET) from error
    except jinja2.UndefinedError as error:
        raise _missing(error, source, values, where) from error
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{where}, line {error.lineno}: {error.message}") from error
    except (
        jinja2.TemplateError,
        TypeError,
        ValueError,
        LookupError,
        ArithmeticError,
        AttributeError,
    ) as error:
        raise TemplateError(
            f"{where}: cannot be rendered: {type(error).__name__}: {error}"
        ) from error


def _missing(
    error: jinja2.UndefinedError, source: str, values: Mapping[str, object], where: str
) -> TemplateError:
    message = error.message or "something is undefined"
    columns = set(values) - {"answer_choices"}
    if (name := re.fullmatch(r"'(.*)' is undefined", message)) and name[1] in used_columns(source):
        return TemplateError(
            f"{where}: no column {name[1]!r} in the row", hint=did_you_mean(name[1], columns)
        )
    field = re.search(r"has no attribute '(.*)'$", message)
    return TemplateError(
        f"{where}: {message}", hint=did_you_mean(field[1], columns) if field else ""
    )


def used_columns(source: str) -> frozenset[str]:
    """Names the template reads and does not set itself, `row["a-b"]` as `a-b`. TemplateError where
    it is not jinja.
    """
    try:
        tree = ENVIRONMENT.parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"template, line {error.lineno}: {error.message}") from error
    names = meta.find_undeclared_variables(tree) - set(ENVIRONMENT.globals)
    names -= {
        found.name for found in tree.find_all(nodes.NSRef)
    }  # `set ns.x` inside a loop counts as a read there
    for item in tree.find_all(nodes.Getitem):
        if (
            isinstance(item.node, nodes.Name)
            and item.node.name == "row"
            and isinstance(item.arg, nodes.Const)
        ):
            names = (names - {"row"}) | {str(item.arg.value)}
    return frozenset(names)


def column_in_jinja(column: str) -> str:
    r"""A column as a template reads it.

    >>> print(column_in_jinja("text"), column_in_jinja('a "b"'))
    text row["a \"b\""]
    """
    return column if column.isidentifier() else f"row[{json.dumps(column, ensure_ascii=False)}]"


def fitted_columns(source: str) -> frozenset[str]:
    """The columns inside `{{ column | fit }}`: the only ones that may be shortened."""
    fits = (
        found for found in ENVIRONMENT.parse(source).find_all(nodes.Filter) if found.name == "fit"
    )
    return frozenset(name.name for fit in fits for name in fit.find_all(nodes.Name))


# ---- values


class ShownList(list[Any]):
    """A list of a row that prints as a csv file's text of it would, and not as Python's."""

    def __str__(self) -> str:
        return printed_text(list(self))


class ShownDict(dict[Any, Any]):
    """An object of a row that prints as JSON."""

    def __str__(self) -> str:
        return printed_text(dict(self))


def shown(value: object) -> object:
    """A row's value as the user's own templates print it. PromptSource's templates were written for
    Python's lists, and keep them.
    """
    if isinstance(value, (list, tuple)):
        return ShownList(map(shown, value))
    if isinstance(value, Mapping):
        return ShownDict({key: shown(inner) for key, inner in value.items()})
    return value


class _Nothing:
    """A None of the row. It is false, equal to None and `none` to jinja's test; as text or number
    it is an error.
    """

    __slots__ = ("column",)

    def __init__(self, column: str) -> None:
        self.column = column

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, _Nothing)

    def __hash__(self) -> int:
        return hash(None)

    def _refuse(self, *_: object) -> NoReturn:
        raise TemplateError(
            f"the column {self.column!r} is None",
            hint="fill it, drop the row, or test it with `if`",
        )

    __str__ = __repr__ = __int__ = __float__ = __len__ = __iter__ = __add__ = __radd__ = (
        __getitem__
    ) = _refuse


def _own(value: Any, column: str) -> Any:
    """A copy of lists and dicts, so that a template that appends to one leaves the user's row
    alone.
    """
    # first: nearly all values, and the checks below are slow
    if isinstance(value, (str, int, float)):
        return value
    if value is None:
        return _Nothing(column)
    if isinstance(value, Mapping):
        kind = ShownDict if isinstance(value, ShownDict) else dict
        return kind({key: _own(inner, f"{column}.{key}") for key, inner in value.items()})
    if type(value) in (list, tuple, ShownList):
        return type(value)(_own(inner, f"{column}[{index}]") for index, inner in enumerate(value))
    return value


def _printable(value: object) -> object:
    """What may be printed (jinja's `finalize`)."""
    if value is None:
        raise TemplateError(
            "an expression is None", hint="a list's append prints None: use {% set _ = ... %}"
        )
    if isinstance(value, float) and value != value:
        raise TemplateError("a value is not a number (NaN)", hint="fill it or drop the row")
    if callable(value) and not isinstance(value, Undefined):
        raise TemplateError(
            f"a {type(value).__name__} is printed",
            hint='a field of that name is reached by x["name"]',
        )
    return value


# ---- filters


@pass_context
def _choice(context: Context, items: Iterable[object]) -> object:
    options = list(items)
    if not options:
        raise TemplateError("choice from an empty list")
    draws: Draws = context[_DRAWS]
    return options[draws.below(len(options))]


def _most_frequent(items: Iterable[Any]) -> list[Any] | None:
    """All items that tie for the most frequent, in order of appearance; None for no items."""
    return multimode(items) or None


def _highlight(text: str) -> str:
    return "<span style='color: #F08080'>" + text + "</span>"


@pass_context
def _fit(context: Context, value: object) -> object:
    limit: int | None = context[_FIT_TO]
    if limit is None or len(str(value)) <= limit:
        return value
    text = str(value)
    kept, space, _ = text[:limit].rpartition(" ")
    return text[:limit] if text[limit].isspace() or not space else kept


@pass_environment
def _item(environment: jinja2.Environment, value: object, key: Any) -> object:
    """`value[key]` where the key was computed: what Python reads from the end, or jinja drops, is
    an error.
    """
    if not isinstance(value, (list, tuple)) or isinstance(key, (Undefined, _Nothing)):
        return environment.getitem(value, key)
    try:
        index = operator.index(key)
    except TypeError:
        raise TemplateError(
            f"{key!r} ({type(key).__name__}) is used as the position in a list of {len(value)}",
            hint=f"map the column to whole numbers from 0 to {len(value) - 1}",
        ) from None
    if not 0 <= index < len(value):
        raise TemplateError(
            f"the position {index} is outside a list of {len(value)}: {str(value)[:80]}",
            hint="-1 often marks a row without a label: drop it"
            if index == -1
            else "check the label's numbers",
        )
    return value[index]


def _like(value: object, constant: object) -> object:
    """The left side of `value == constant`, after a check that the two can be equal at all."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    numeric_text = (
        isinstance(constant, str) and re.fullmatch(r"\s*[-+]?\d+(\.\d+)?\s*", constant) is not None
    )
    if (isinstance(value, str) and not isinstance(constant, str)) or (number and numeric_text):
        raise TemplateError(
            f"{value!r} ({type(value).__name__}) is compared with "
            f"{constant!r} ({type(constant).__name__}), which is never equal",
            hint=f"give the column as {type(constant).__name__}",
        )
    return value


# ---- the environment


class _Strict(NodeTransformer):
    """Rewrites a parsed template; see the module's docstring."""

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        node.data = node.data.replace(SEPARATOR, MARK)
        return node

    def visit_Const(self, node: nodes.Const) -> nodes.Node:
        if isinstance(node.value, str):
            node.value = node.value.replace(SEPARATOR, MARK)
        return node

    def visit_Name(self, node: nodes.Name) -> nodes.Node:
        if node.name == "self":
            raise TemplateError(
                "`self` is a word of jinja", hint='a column of that name is row["self"]'
            )
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if (
            node.ctx != "load"
            or isinstance(node.arg, nodes.Slice)
            or _constant(node.arg) is not _VARIES
        ):
            return node
        return nodes.Filter(node.node, "_item", [node.arg], [], None, None, lineno=node.lineno)

    def visit_CondExpr(self, node: nodes.CondExpr) -> nodes.Node:
        self.generic_visit(node)
        # jinja prints nothing for a missing else; StrictUndefined fails
        node.expr2 = node.expr2 or nodes.Const("")
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        if (
            len(node.ops) == 1
            and node.ops[0].op in ("eq", "ne")
            and _constant(node.expr) is _VARIES
        ):
            constant = _constant(node.ops[0].expr)
            if isinstance(constant, (int, float, str)) and not isinstance(constant, bool):
                node.expr = nodes.Filter(
                    node.expr, "_like", [nodes.Const(constant)], [], None, None, lineno=node.lineno
                )
        return node


_VARIES = object()


def _constant(node: nodes.Expr) -> object:
    try:
        return node.as_const(nodes.EvalContext(ENVIRONMENT))
    except nodes.Impossible:
        return _VARIES


def make_environment() -> SandboxedEnvironment:
    """A sandboxed, strict environment with PromptSource's filters and ours; `render` adds the
    checks of `_Strict`.
    """
    environment = SandboxedEnvironment(undefined=StrictUndefined, finalize=_printable)
    environment.filters |= {
        "choice": _choice,
        "random": _choice,
        "most_frequent": _most_frequent,
        "highlight": _highlight,
        "fit": _fit,
        "_item": _item,
        "_like": _like,
    }
    environment.tests["none"] = lambda value: value is None or isinstance(value, _Nothing)
    environment.globals["zip"] = zip
    del environment.globals["lipsum"]  # draws from Python's unseeded generator
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "default": _json_null}
    return environment


def _json_null(value: object) -> None:
    if not isinstance(value, _Nothing):
        raise TypeError(f"{type(value).__name__} cannot be written as JSON")


ENVIRONMENT = make_environment()
put_under_budget(ENVIRONMENT)


@lru_cache(maxsize=8192)
def _compile(source: str) -> jinja2.Template:
    return compile_template(ENVIRONMENT, _Strict().visit(ENVIRONMENT.parse(source)))
