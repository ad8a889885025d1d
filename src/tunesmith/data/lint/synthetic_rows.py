"""Rows made up from a template's own source, so that a template can be tried and linted before
there is a table.

The source is read once: a column that is iterated becomes a list, one used as a position or in a
sum a number, one with fields an object; one compared with constants takes those constants in turn,
and everything else is a few words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import nodes

from tunesmith.data.templates.environment import ENVIRONMENT

WORDS = (
    "the small red boat",
    "a long winter evening",
    "seven grey herons",
    "old maps of the coast",
    "bread and salt",
)
LIST_LENGTH = 3

TEXT_METHODS = {
    "split",
    "lower",
    "upper",
    "strip",
    "replace",
    "startswith",
    "endswith",
    "title",
    "find",
}
LIST_METHODS = {"append", "index", "extend", "insert", "pop"}
TEXT_FILTERS = {
    "lower",
    "upper",
    "trim",
    "replace",
    "capitalize",
    "title",
    "wordcount",
    "truncate",
    "fit",
}
NUMBER_FILTERS = {"int", "float", "round", "abs"}
ITEM_FILTERS = {"first", "last", "choice", "random", "max", "min"}
LIST_FILTERS = {
    "join",
    "length",
    "count",
    "list",
    "unique",
    "sort",
    "most_frequent",
    "sum",
    "reject",
    "select",
}
FIELD_FILTERS = {"map", "selectattr", "rejectattr", "sort", "join"}
ARITHMETIC = (nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod)


@dataclass
class Use:
    """What a template does with one value of a row."""

    name: str
    kind: str = ""  # "", text, number, list
    fields: dict[str, Use] = field(default_factory=dict)
    item: Use | None = None
    length: int = LIST_LENGTH
    constants: list[Any] = field(default_factory=list)  # it is compared with these
    offset: int = 0  # a number has this subtracted
    pieces: list[str] = field(default_factory=list)  # it is split at these
    same_as: Use | None = None

    def member(self, name: str) -> Use:
        """The use of a field, as in `answers.text`."""
        return self.fields.setdefault(name, Use(f"{self.name} {name}"))

    def element(self) -> Use:
        """The use of an item: the value is a list, unless it is known to be text."""
        self.kind = self.kind or "list"
        self.item = self.item or Use(self.name)
        return self.item

    def mark(self, kind: str) -> Use:
        """Set the kind; the first sign of one wins."""
        self.kind = self.kind or kind
        return self

    def compare(self, constant: object) -> None:
        """It is compared with a constant, which rows then take in turn."""
        if isinstance(constant, (int, float)) and not isinstance(constant, bool):
            self.mark("number")
        if constant is not None and constant not in self.constants:
            self.constants.append(constant)

    def equals(self, other: Use) -> None:
        """It is compared with another value: `other` then takes this one's."""
        if other is not self and self.same_as is None and not self.constants:
            other.same_as = other.same_as or self

    def value(self, turn: int) -> Any:
        """A value for row number `turn` that suits all uses."""
        if self.same_as is not None:
            return self.same_as.value(turn)
        if self.fields:
            return {name: inner.value(turn) for name, inner in sorted(self.fields.items())}
        if self.item is not None and self.kind != "text":
            return [self.item.value(turn + position) for position in range(self.length)]
        if self.constants:  # and one other value, for the `else` of a comparison
            others = [0, 1] if self.kind == "number" else [self.text(turn)]
            options = (
                self.constants + [other for other in others if other not in self.constants][:1]
            )
            return options[turn % len(options)]
        return self.offset + turn % 2 if self.kind == "number" else self.text(turn)

    def text(self, turn: int) -> str:
        """A few words that begin with the name and hold what the text is split at."""
        words = f"{self.name.replace('_', ' ')}: {WORDS[turn % len(WORDS)]}"
        return words + "".join(f"{piece}{word}" for piece in self.pieces for word in WORDS[:2])


def made_rows(*sources: str, count: int = 4) -> list[dict[str, Any]]:
    """`count` rows with a value for every column the sources (a template, its answer_choices) read.

    The same sources give the same rows. Raises jinja2.TemplateSyntaxError for what is not jinja.
    """
    reader = _Reader({}, {})
    for source in sources:
        reader.read(ENVIRONMENT.parse(source))
    columns = {
        name: use for name, use in reader.columns.items() if name not in ("answer_choices", "row")
    }
    if "row" in reader.columns:
        columns |= reader.columns["row"].fields
    return [
        {name: use.value(turn) for name, use in sorted(columns.items())} for turn in range(count)
    ]


@dataclass
class _Reader:
    """Walks a parsed template. `own` holds the names it sets, with the column behind each where
    there is one.
    """

    columns: dict[str, Use]
    own: dict[str, Use | None]

    def read(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Expr):
            self.use(node)
        elif isinstance(node, nodes.Assign):
            self.bind(node.target, self.use(node.node))
        else:
            if isinstance(node, nodes.For):
                self.bind(node.target, _element(self.use(node.iter)))
            for child in node.iter_child_nodes(exclude=("target",)):
                self.read(child)

    def bind(self, target: nodes.Node, use: Use | None) -> None:
        for name in [target] if isinstance(target, nodes.Name) else target.find_all(nodes.Name):
            self.own[name.name] = use if name is target else None

    def use(self, node: nodes.Node) -> Use | None:
        """The column, field or element an expression stands for, None where it is none of them."""
        handler = HANDLERS.get(type(node))
        if handler is not None:
            found: Use | None = handler(self, node)
            return found
        uses = [self.use(child) for child in node.iter_child_nodes()]
        if isinstance(node, ARITHMETIC) or (isinstance(node, nodes.Add) and _has_number(node)):
            for use in uses:
                _mark(use, "number")
        if isinstance(node, nodes.Sub) and uses[0] and isinstance(_constant(node.right), int):
            uses[0].offset = _constant(node.right)
        return None

    def name(self, node: nodes.Name) -> Use | None:
        if node.name in self.own:
            return self.own[node.name]
        if node.name in ENVIRONMENT.globals or node.name in ("loop", "caller"):
            return None
        return self.columns.setdefault(node.name, Use(node.name))

    def attribute(self, node: nodes.Getattr) -> Use | None:
        owner = self.use(node.node)
        return owner.member(node.attr) if owner else None

    def item(self, node: nodes.Getitem) -> Use | None:
        owner, position = self.use(node.node), self.use(node.arg)
        key = _constant(node.arg)
        if position and isinstance(node.node, nodes.Dict):
            for pair in node.node.items:
                position.compare(_constant(pair.key))
            return None
        if isinstance(node.arg, nodes.Slice):
            for bound in node.arg.iter_child_nodes():
                _mark(self.use(bound), "number")
            return owner
        if owner is None or owner.kind == "text":
            _mark(position, "number" if isinstance(node.node, (nodes.List, nodes.Name)) else "")
            return owner
        if isinstance(key, str):
            return owner.member(key)
        if isinstance(key, int):
            owner.length = max(owner.length, key + 1)
        _mark(position, "number")
        return owner.element()

    def filter(self, node: nodes.Filter) -> Use | None:
        owner = self.use(node.node) if node.node is not None else None
        for argument in node.args:
            self.use(argument)
        if owner is None:
            return None
        if node.name in FIELD_FILTERS and (member := self.filtered_field(node, owner)):
            return Use(member.name, kind="list", item=member) if node.name == "map" else owner
        if node.name in ITEM_FILTERS:
            return owner.element()
        if node.name in LIST_FILTERS and owner.kind != "text":
            owner.element()
        return owner.mark(
            "text" if node.name in TEXT_FILTERS else "number" if node.name in NUMBER_FILTERS else ""
        )

    def filtered_field(self, node: nodes.Filter, owner: Use) -> Use | None:
        """The field in `map(attribute="x")` and `selectattr("x", "equalto", 1)`."""
        named = [pair.value for pair in node.kwargs if pair.key == "attribute"] or node.args[
            : "attr" in node.name
        ]
        name = _constant(named[0]) if named else None
        if not isinstance(name, str):
            return None
        member = owner.element().member(name)
        if node.name.endswith("attr") and len(node.args) == 3:
            member.compare(_constant(node.args[2]))
        return member

    def comparison(self, node: nodes.Compare) -> None:
        left, left_use = node.expr, self.use(node.expr)
        for operand in node.ops:
            right, right_use = operand.expr, self.use(operand.expr)
            constants = _constants(right)
            if operand.op in ("in", "notin"):
                for constant in constants if left_use else []:
                    _compare(left_use, constant)
                if right_use and right_use.kind == "list":
                    _compare(right_use.element(), _constant(left))
            elif left_use and right_use:
                left_use.equals(right_use)
            else:
                _compare(left_use, _constant(right))
                _compare(right_use, _constant(left))
            left, left_use = right, right_use

    def call(self, node: nodes.Call) -> Use | None:
        arguments = [self.use(argument) for argument in node.args]
        called = node.node
        if isinstance(called, nodes.Getattr):
            owner = self.use(called.node)
            return self.method(called.attr, owner, node, arguments) if owner else None
        for argument in arguments:
            if isinstance(called, nodes.Name) and called.name == "range":
                _mark(argument, "number")
            elif isinstance(called, nodes.Name) and called.name == "zip":
                _element(argument)
        return None

    def method(
        self, name: str, owner: Use, node: nodes.Call, arguments: list[Use | None]
    ) -> Use | None:
        if name in TEXT_METHODS:
            pieces = [
                _constant(argument) for argument in node.args if name in ("split", "startswith")
            ]
            owner.mark("text").pieces += [piece for piece in pieces if isinstance(piece, str)]
            return None if name == "split" else owner
        if name in LIST_METHODS:
            element = owner.element()
            if name == "index" and arguments and arguments[0]:
                element.equals(arguments[0])
            return None
        return None if name in ("items", "keys", "values", "get") else owner.member(name)

    def conditional(self, node: nodes.CondExpr) -> Use | None:
        self.use(node.test)
        uses = [self.use(side) for side in (node.expr1, node.expr2) if side is not None]
        return next((use for use in uses if use), None)


HANDLERS: Mapping[type[nodes.Node], Any] = {
    nodes.Name: _Reader.name,
    nodes.Getattr: _Reader.attribute,
    nodes.Getitem: _Reader.item,
    nodes.Filter: _Reader.filter,
    nodes.Compare: _Reader.comparison,
    nodes.Call: _Reader.call,
    nodes.CondExpr: _Reader.conditional,
}


def _constant(node: nodes.Node) -> Any:
    return (
        node.value
        if isinstance(node, nodes.Const)
        else node.as_const()
        if isinstance(node, nodes.Neg)
        else None
    )


def _constants(node: nodes.Node) -> list[Any]:
    return (
        [_constant(item) for item in node.items]
        if isinstance(node, (nodes.List, nodes.Tuple))
        else []
    )


def _has_number(node: nodes.Add) -> bool:
    return any(isinstance(_constant(side), (int, float)) for side in (node.left, node.right))


def _mark(use: Use | None, kind: str) -> None:
    if use is not None:
        use.mark(kind)


def _element(use: Use | None) -> Use | None:
    return use.element() if use is not None else None


def _compare(use: Use | None, constant: Any) -> None:
    if use is not None:
        use.compare(constant)
