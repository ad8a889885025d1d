"""What each column of a table is good for, by its name and by its facts: the first rule decides."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from tunesmith.init.facts import ColumnFacts

Role = Literal[
    "unused", "split", "group", "id", "date", "label", "labels", "number", "list", "object", "text"
]
"""`label`: one class a row. `labels`: several. `list`: items that do not repeat. `unused`: nothing,
or always the same.
"""

INPUTS = (
    "input", "text", "sentence", "review", "question", "query", "document", "article", "dialogue",
    "dialog", "transcript", "conversation", "passage", "context", "content", "body", "message",
    "comment", "post", "tweet", "utterance", "premise", "email", "prompt", "instruction",
)  # fmt: skip
"""Names of a text to be read, the surest first."""
OUTPUTS = (
    "output", "target", "completion", "response", "answer", "answers", "summary", "highlights",
    "translation", "reply", "expected", "gold", "ground_truth", "reference", "references",
    "rewrite", "simplified", "corrected", "paraphrase", "keywords", "keyphrases",
)  # fmt: skip
"""Names of what is wanted for it."""
LABELS = (
    "label", "labels", "class", "category", "categories", "sentiment", "intent", "topic", "topics",
    "type", "genre", "emotion", "tag", "tags", "polarity", "stance", "toxicity", "language",
    "priority", "verdict", "relation",
)  # fmt: skip
SCORES = (
    "score", "rating", "stars", "grade", "similarity", "points", "rank", "probability", "price",
    "degree", "helpfulness", "difficulty",
)  # fmt: skip
IDS = (
    "id", "ids", "uuid", "guid", "key", "index", "idx", "nr", "fname", "filename", "file", "path",
    "url", "link", "hash", "row", "number",
)  # fmt: skip
GROUPS = (
    "author", "user", "patient", "customer", "client", "speaker", "session", "thread",
    "conversation", "dialogue", "document", "doc", "article", "account", "student", "group",
    "encounter", "visit", "case", "paper", "movie", "product", "reviewer", "annotator", "page",
)  # fmt: skip
DATA = (
    "triples", "triple", "data", "record", "facts", "table", "meaning_representation", "mr",
    "attributes",
)  # fmt: skip
"""Names of facts that a text is to be written from."""
TITLES = ("title", "headline", "subject")
GENERIC = ("label", "labels", "class", "target", "category", "output", "y", "value", "answer")
"""Names of a column that say nothing about what its values mean."""


def words_of(name: str) -> list[str]:
    """The words of a column's name in lower case.

    >>> words_of("userId"), words_of("Ticket text"), words_of("section_header")
    (['user', 'id'], ['ticket', 'text'], ['section', 'header'])
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+", spaced.lower())


def place_in(column: ColumnFacts, names: Sequence[str]) -> int | None:
    """How early a column's name stands among `names`, by its whole name before its last word; None
    where it does not.
    """
    words = words_of(column.name)
    whole = "_".join(words)
    if whole in names:
        return names.index(whole)
    return len(names) + names.index(words[-1]) if words and words[-1] in names else None


def _is_exactly(column: ColumnFacts, names: Sequence[str]) -> bool:
    return "_".join(words_of(column.name)) in names


def _is_unused(column: ColumnFacts) -> bool:
    return column.filled == 0 or (column.distinct == 1 and column.rows > 1)


def _is_text_by_name(column: ColumnFacts) -> bool:
    return _is_exactly(column, INPUTS) and column.kind not in ("list", "object")


def _is_group(column: ColumnFacts) -> bool:
    """Somebody or something that several rows belong to, by name, and so by the facts."""
    words = [word for word in words_of(column.name) if word not in (*IDS, "name", "no")]
    names_it = bool(words) and words[-1] in GROUPS and "_".join(words_of(column.name)) not in INPUTS
    return (
        names_it
        and 5 <= column.distinct <= 0.9 * column.filled
        and column.words <= 4
        and column.kind in ("text", "whole")
    )


def _is_id(column: ColumnFacts) -> bool:
    words = words_of(column.name)
    by_name = not words or words[-1] in IDS or words[0] == "unnamed"
    if column.kind == "list" or column.kind == "object" or column.words > 1:
        return False
    if by_name:
        return column.is_unique or not column.has_few_values
    known = _is_exactly(column, (*INPUTS, *OUTPUTS, *LABELS))
    return column.is_unique and not known and (column.is_sequence or column.has_codes)


def _is_labels(column: ColumnFacts) -> bool:
    """Several values in a cell, each of which comes back in other rows."""
    if column.kind not in ("list", "text", "comma") or not column.parts:
        return False
    few = 2 <= len(column.parts) <= MOST_SET and column.repeats >= 3
    return few and (
        column.kind == "list" or len(column.parts) < column.distinct or column.words <= 8
    )


MOST_SET = 500
"""Distinct parts of cells with several labels; of more they are keywords."""


def _is_label(column: ColumnFacts) -> bool:
    return column.has_few_values and (column.kind != "whole" or not _is_scale(column))


def _is_scale(column: ColumnFacts) -> bool:
    """Whole numbers that count or measure: by name, or too many for classes."""
    return place_in(column, SCORES) is not None or column.distinct > 20


RULES: tuple[tuple[Role, Callable[[ColumnFacts], bool]], ...] = (
    ("unused", _is_unused),
    ("split", lambda column: column.names_splits),
    ("date", lambda column: column.kind == "date"),
    ("text", _is_text_by_name),
    ("group", _is_group),
    ("id", _is_id),
    ("label", lambda column: column.kind == "truth"),
    ("labels", _is_labels),
    ("label", _is_label),
    ("number", lambda column: column.kind in ("whole", "number", "comma")),
    ("list", lambda column: column.kind == "list"),
    ("object", lambda column: column.kind == "object"),
)


def role_of(column: ColumnFacts) -> Role:
    """The role of the first rule that holds; a column of which none holds is a text."""
    return next((role for role, holds in RULES if holds(column)), "text")
