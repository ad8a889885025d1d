"""The right answers that one cell of a table holds, read alike for `run` and for `score`.

Lists come as lists (jsonl, parquet), as JSON text (csv) and as the text that pandas writes for a
Python list or a numpy array. Each cell is read by itself: a row without a list takes nothing from
the others.
"""

from __future__ import annotations

import ast
import io
import json
import math
import tokenize
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

MAX_LIST_TEXT = 100_000
"""Characters of a text that is read as a list; a longer one is an answer."""


def is_missing(value: object) -> bool:
    """None and NaN, which tables write for a missing value."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def plain_text(value: object) -> str:
    """A value as text: lists and objects as JSON, whole floats as integers (a column of integers
    with gaps is read as floats).
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def alternatives(value: object) -> tuple[str, ...]:
    """All right answers in a cell, the one to train first: a text, a list, or SQuAD's
    `{"text": [...]}`; the last two also written as text.

    A text is kept as it is. Blank items and repeats are left out. In a text only a list of texts is
    a list: `[1, 2]` is an answer. Raises ValueError where an item of a list is missing.
    """
    items = read_list(value)
    if items is None or (isinstance(value, str) and not _are_texts(items)):
        return () if is_missing(value) else (plain_text(value),)
    if any(is_missing(item) for item in items):
        raise ValueError("has a list with a missing answer")
    texts = (plain_text(item) for item in items)
    return tuple(dict.fromkeys(text for text in texts if text.strip()))


def read_list(value: object) -> list[Any] | None:
    """The items of a list, of SQuAD's `{"text": [...]}`, or of a text that is one of these in JSON
    or Python; None for anything else.
    """
    if isinstance(value, str):
        value = _written(value)
    if isinstance(value, Mapping) and "text" in value:
        value = value["text"]
        return list(value) if isinstance(value, (list, tuple)) else [value]
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else None


def _are_texts(items: Sequence[object]) -> bool:
    return all(isinstance(item, str) or is_missing(item) for item in items)


def _written(text: str) -> object:
    """The list or object that a text is in JSON or Python; None where it is neither."""
    text = text.strip()
    if (text[:1], text[-1:]) not in (("[", "]"), ("{", "}")) or len(text) > MAX_LIST_TEXT:
        return None
    for read in (json.loads, _read_python):
        try:
            return _list_or_object(read(text))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _list_or_object(value: object) -> object:
    return value if isinstance(value, (list, dict)) else None


def _read_python(text: str) -> object:
    """A literal as `repr` writes it, numpy arrays and nan in it allowed; ValueError for others.

    `ast.literal_eval` would join the texts of a numpy array, which have no commas between them,
    into one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an escape such as "\d", which is the table's business
        return _literal(ast.parse(_with_commas(text), mode="eval").body)


def _with_commas(text: str) -> str:
    """`['a' 'b']`, as numpy writes an array, with a comma between the texts."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, IndentationError) as error:
        raise ValueError("not Python") from error
    kept = [token for token in tokens if token.type not in (tokenize.NL, tokenize.NEWLINE)]
    parts: list[str] = []
    for before, token in zip([None, *kept], kept, strict=False):
        if before and before.type == token.type == tokenize.STRING:
            parts.append(",")
        parts.append(token.string)
    return " ".join(parts)


def _literal(node: ast.expr) -> object:
    match node:
        case ast.Constant():
            return node.value
        case ast.List() | ast.Tuple() | ast.Set():
            return [_literal(item) for item in node.elts]
        case ast.Dict():
            pairs = zip(node.keys, node.values, strict=True)
            return {str(_literal(key)): _literal(value) for key, value in pairs if key}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Name(id="nan"):
            return math.nan
        case ast.Call(func=ast.Name(id="array"), args=[first, *_]):
            return _literal(first)
    raise ValueError("not a literal")
