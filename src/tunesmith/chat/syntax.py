"""What a chat template's syntax tree tells without rendering it.

`writes_content_as_is` proves that a template only ever writes a message's content as it is: what it
writes around the contents then depends on the roles alone, so that a conversation can be put
together from pieces found once. A template that trims, cuts, tests or compares a content, or hands
a message to anything, is not proved, and is rendered each time.
"""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import nodes
from jinja2.meta import find_undeclared_variables

from tunesmith.chat.budget import parse_chat_template

OTHER, CONTENT, MESSAGE, LIST = range(4)
TYPE_TESTS = {"defined", "undefined", "none", "string", "mapping", "sequence", "iterable", "number"}
DICTIONARY_METHODS = {"get", "items", "keys", "values"}


class _NotProved(Exception):
    pass


def variables(template: str) -> set[str]:
    """The names that a template reads and does not set."""
    return set(find_undeclared_variables(parse_chat_template(template)))


def asks_the_clock(template: str) -> bool:
    """Whether it uses transformers' `strftime_now`, and has no macro of that name (a stopped
    clock).
    """
    tree = parse_chat_template(template)
    stopped = any(macro.name == "strftime_now" for macro in tree.find_all(nodes.Macro))
    return not stopped and any(name.name == "strftime_now" for name in tree.find_all(nodes.Name))


def clock_formats(template: str) -> list[str]:
    """The formats in which it asks for the time, where they are written out."""
    calls = parse_chat_template(template).find_all(nodes.Call)
    asked = [
        c
        for c in calls
        if isinstance(c.node, nodes.Name) and c.node.name == "strftime_now" and c.args
    ]
    return sorted({str(c.args[0].value) for c in asked if isinstance(c.args[0], nodes.Const)})


def writes_content_as_is(template: str) -> bool:
    """Whether it is proved that messages' contents are only ever written, whole and as they are.

    False says that it is not proved, not that the template changes anything.
    """
    tree = parse_chat_template(template)
    kinds = {"messages": LIST}
    try:
        # a name may be read before a later turn of a loop sets it: go on until nothing is new
        while True:
            before = dict(kinds)
            for statement in tree.body:
                _statement(statement, kinds)
            if kinds == before:
                return True
    except _NotProved:
        return False


def _statement(node: nodes.Node, kinds: dict[str, int]) -> None:
    if isinstance(node, nodes.Output):
        for child in node.nodes:
            if not isinstance(child, nodes.TemplateData) and _kind(child, kinds) not in (
                OTHER,
                CONTENT,
            ):
                raise _NotProved
    elif isinstance(node, nodes.If):
        _must_be_other(node.test, kinds)
        for statement in (*node.body, *node.elif_, *node.else_):
            _statement(statement, kinds)
    elif isinstance(node, nodes.For):
        _loop(node, kinds)
    elif isinstance(node, nodes.Assign):
        _learn(node.target, _kind(node.node, kinds), kinds)
    elif isinstance(node, nodes.Scope | nodes.CallBlock):  # the second is `{% generation %}`
        for statement in node.body:
            _statement(statement, kinds)
    elif isinstance(node, nodes.Break | nodes.Continue):
        pass
    else:
        raise _NotProved


def _loop(node: nodes.For, kinds: dict[str, int]) -> None:
    over = _kind(node.iter, kinds)
    if over in (CONTENT, MESSAGE):
        raise _NotProved
    _learn(node.target, MESSAGE if over == LIST else OTHER, kinds)
    if node.test is not None:
        _must_be_other(node.test, kinds)
    for statement in (*node.body, *node.else_):
        _statement(statement, kinds)


def _learn(target: nodes.Node, kind: int, kinds: dict[str, int]) -> None:
    """A name is of the kind that tells most about a message; one that is a list and a text in turn
    is not followed.
    """
    if not isinstance(target, nodes.Name):
        if kind != OTHER:
            raise _NotProved
        return
    known = kinds.get(target.name, kind)
    if known != kind and {known, kind} != {OTHER, CONTENT}:
        raise _NotProved
    kinds[target.name] = max(known, kind)


def _must_be_other(node: nodes.Node, kinds: dict[str, int]) -> None:
    if _kind(node, kinds) != OTHER:
        raise _NotProved


def _kind(node: nodes.Node, kinds: dict[str, int]) -> int:
    """What an expression holds; _NotProved where something of a message goes where it could be
    changed or looked at.
    """
    if isinstance(node, nodes.Name):
        return kinds.get(node.name, OTHER)
    if isinstance(node, nodes.Getattr | nodes.Getitem):
        return _part(node, kinds)
    if isinstance(node, nodes.Add | nodes.Concat):
        found = {_kind(child, kinds) for child in node.iter_child_nodes()}
        if found - {OTHER, CONTENT}:
            raise _NotProved
        return max(found)
    if isinstance(node, nodes.CondExpr):
        _must_be_other(node.test, kinds)
        found = {_kind(child, kinds) for child in (node.expr1, node.expr2) if child is not None}
        if len(found) > 1 and found != {OTHER, CONTENT}:
            raise _NotProved
        return max(found)
    if isinstance(node, nodes.Test) and node.name in TYPE_TESTS:
        _kind(node.node, kinds)
        return OTHER
    if (
        isinstance(node, nodes.Filter)
        and node.name in ("length", "count")
        and node.node is not None
    ):
        kind = _kind(node.node, kinds)
        if kind in (CONTENT, MESSAGE):
            raise _NotProved
        return OTHER
    for child in _children(node):
        _must_be_other(child, kinds)
    return OTHER


def _children(node: nodes.Node) -> Iterator[nodes.Node]:
    return (
        child for child in node.iter_child_nodes() if isinstance(child, nodes.Expr | nodes.Helper)
    )


def _part(node: nodes.Getattr | nodes.Getitem, kinds: dict[str, int]) -> int:
    """An item of a list, a key of a message, or something of something else."""
    whole = _kind(node.node, kinds)
    if whole == OTHER:
        if isinstance(node, nodes.Getitem):
            _must_be_other(node.arg, kinds)
        return OTHER
    if whole == LIST and isinstance(node, nodes.Getitem):
        for child in _children(node.arg):
            _must_be_other(child, kinds)
        return LIST if isinstance(node.arg, nodes.Slice) else MESSAGE
    key = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
    if (
        whole != MESSAGE
        or not isinstance(key, str)
        or (isinstance(node, nodes.Getattr) and key in DICTIONARY_METHODS)
    ):
        raise _NotProved
    return CONTENT if key == "content" else OTHER
