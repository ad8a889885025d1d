"""A table as the rules see it: its facts, the role of each column, and how two columns relate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tunesmith.data.sources.answers import read_list
from tunesmith.data.sources.cells import is_blank, label_text, plain_text
from tunesmith.data.templates.families import Family, load_family
from tunesmith.init.facts import ColumnFacts, TableFacts
from tunesmith.init.roles import (
    DATA,
    INPUTS,
    LABELS,
    OUTPUTS,
    SCORES,
    TITLES,
    Role,
    place_in,
    role_of,
    words_of,
)

ANSWER_TYPES = ("label", "labels", "target", "number", "json", "tags")
MOSTLY = 0.9


@dataclass(frozen=True)
class Table:
    """`wanted` are the columns that the user named, by slot, and `task` the family, if any."""

    facts: TableFacts
    wanted: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None

    @cached_property
    def roles(self) -> dict[str, Role]:
        """The role of each column, by name."""
        return {column.name: role_of(column) for column in self.facts.columns}

    def of(self, *roles: Role) -> list[ColumnFacts]:
        """The columns of these roles, in the table's order."""
        return [column for column in self.facts.columns if self.roles[column.name] in roles]

    def named(self, names: Sequence[str], *roles: Role) -> ColumnFacts | None:
        """Of the columns of these roles, or of all, the one whose name stands first in `names`."""
        among = self.of(*roles) if roles else self.facts.columns
        placed = [(place, c) for c in among if (place := place_in(c, names)) is not None]
        return min(placed, key=lambda pair: pair[0])[1] if placed else None

    @cached_property
    def answer(self) -> ColumnFacts | None:
        """The column with what is to be learnt; None where there is none."""
        given = self._wanted(ANSWER_TYPES)
        if given is not None:
            return given
        no_answer = {"unused", "split", "group", "date"}
        usable = [c for c in self.facts.columns if self.roles[c.name] not in no_answer]
        return next((found for rule in ANSWERS if (found := rule(self, usable))), None)

    @cached_property
    def texts(self) -> list[ColumnFacts]:
        """The columns to be read, the best first: by name, else the longest texts."""
        given = self._wanted(("text", "question", "tokens"))
        answer = self.answer.name if self.answer else ""
        found = [column for column in self.of("text") if column.name != answer]
        far = len(INPUTS) * 3

        def key(column: ColumnFacts) -> tuple[int, float, int]:
            place = place_in(column, INPUTS)
            return (far if place is None else place, -column.words, column.place)

        found.sort(key=key)
        return [given, *(c for c in found if c != given)] if given else found

    def _wanted(self, types: Sequence[str]) -> ColumnFacts | None:
        """The column that the user gave for a slot of one of these types."""
        family = known_family(self.task)
        for slot, name in self.wanted.items():
            kind = family.slots[slot].type if family and slot in family.slots else slot
            if kind in types:
                return self.facts.column(name)
        return None

    def share(self, a: ColumnFacts, b: ColumnFacts, holds: Callable[[Any, Any], bool]) -> float:
        """The share of the sample's rows with both values for which something holds of them."""
        pairs = [(row.get(a.name), row.get(b.name)) for row in self.facts.sample]
        pairs = [(x, y) for x, y in pairs if not is_blank(x) and not is_blank(y)]
        return sum(holds(x, y) for x, y in pairs) / len(pairs) if pairs else 0.0

    def stands_in(self, part: ColumnFacts, whole: ColumnFacts) -> bool:
        """Whether nearly every value of `part`, or each of its items, is a piece of `whole`'s."""
        return self.share(part, whole, _stands_in) >= MOSTLY

    def common_words(self, a: ColumnFacts, b: ColumnFacts) -> float:
        """The mean share of words that two texts of a row have in common (Jaccard)."""
        pairs = [(_words(row.get(a.name)), _words(row.get(b.name))) for row in self.facts.sample]
        shares = [len(x & y) / len(x | y) for x, y in pairs if x and y]
        return sum(shares) / len(shares) if shares else 0.0

    def same_in_other_words(self, column: ColumnFacts) -> ColumnFacts | None:
        """A column of texts with one value for each of `column`'s, such as a class's name beside
        its number.
        """
        others = [c for c in self.of("label") if c.kind == "text" and c.name != column.name]
        for other in others:
            pairs = {
                (label_text(row.get(column.name)), label_text(row.get(other.name)))
                for row in self.facts.sample
                if not is_blank(row.get(column.name)) and not is_blank(row.get(other.name))
            }
            if len(pairs) == column.distinct == other.distinct:
                return other
        return None


def known_family(task: str | None) -> Family | None:
    """The family of a task, or of one wording of it; None without a task."""
    return load_family(task.partition("/")[0]) if task else None


def family_of(task: str | None) -> str:
    """The family whose answers a task asks for, by itself or by one of its wordings; "" without a
    task, and for an inverted wording, which asks for another text.
    """
    family = known_family(task)
    if task is None or family is None:
        return ""
    name = task.partition("/")[2]
    is_inverted = any(wording.inverted for wording in family.wordings if wording.name == name)
    return "" if is_inverted else family.family


def _stands_in(part: Any, whole: Any) -> bool:
    text = plain_text(whole).casefold()
    items = read_list(part)
    found = plain_text(part) if items is None else ""
    pieces = [plain_text(item) for item in items] if items is not None else found.split(",")
    if items is None and found.strip().casefold() in text:
        return True
    return bool(pieces) and all(piece.strip().casefold() in text for piece in pieces)


def _words(value: object) -> set[str]:
    return set() if is_blank(value) else set(plain_text(value).lower().split())


# ---- which column is the answer: the first rule that finds one


Columns = list[ColumnFacts]


def _by_output_name(table: Table, usable: Columns) -> ColumnFacts | None:
    """A column called output, answer, summary ..."""
    return _first(usable, OUTPUTS, whole=True)


def _by_label_name(table: Table, usable: Columns) -> ColumnFacts | None:
    """A column called label, category, topic ... with values like labels; whatever its values, if
    that is its whole name.
    """
    labels = [column for column in usable if table.roles[column.name] in ("label", "labels")]
    found = _first(labels, LABELS)
    named = [column for column in table.facts.columns if column.filled]
    found = found or _first(named, LABELS[:4], whole=True)
    if found is not None and found.kind == "whole":
        return table.same_in_other_words(found) or found
    return found


def _by_score_name(table: Table, usable: Columns) -> ColumnFacts | None:
    """A column of numbers called score, rating, stars ..."""
    return _first([column for column in usable if table.roles[column.name] == "number"], SCORES)


def _by_title(table: Table, usable: Columns) -> ColumnFacts | None:
    """A title beside one much longer text, and nothing else to learn."""
    texts = [column for column in usable if table.roles[column.name] == "text"]
    title = _first(texts, TITLES)
    longer = [column for column in texts if title and column.words >= 4 * max(1, title.words)]
    labels = [c for c in usable if table.roles[c.name] in ("label", "labels", "number")]
    return title if longer and not labels else None


def _by_values(table: Table, usable: Columns) -> ColumnFacts | None:
    """The last column with values like labels that does not only say which part of another it is:
    section_header beside section_text.
    """
    labels = [column for column in usable if table.roles[column.name] in ("label", "labels")]
    labels = [column for column in labels if described_by(table, column) is None]
    found = labels[-1] if labels else None
    return table.same_in_other_words(found) or found if found else None


def _by_numbers(table: Table, usable: Columns) -> ColumnFacts | None:
    """The last column of numbers that are no ids."""
    numbers = [column for column in usable if table.roles[column.name] == "number"]
    return numbers[-1] if numbers and len(table.of("text")) < 2 else None


def _by_shape(table: Table, usable: Columns) -> ColumnFacts | None:
    """Of two texts the one that another column describes, else the shorter, else the later."""
    texts = [column for column in usable if table.roles[column.name] in ("text", "list", "object")]
    described = [c for c in texts if any(describes(other, c) for other in table.of("label"))]
    if len(texts) < 2:
        return None
    if len(described) == 1:
        return described[0]
    written = [column for column in texts if _first([column], DATA) is None]
    if len(written) == 1:
        return written[0]
    objects = [column for column in written if table.roles[column.name] == "object"]
    if len(objects) == 1:
        return objects[0]
    texts = [c for c in written if _first([c], INPUTS, whole=True) is None] or written
    plain = [column for column in texts if table.roles[column.name] == "text"] or texts
    first, last = plain[0], plain[-1]
    return first if first.words * 2 < last.words else last


ANSWERS = (
    _by_output_name,
    _by_label_name,
    _by_score_name,
    _by_title,
    _by_values,
    _by_numbers,
    _by_shape,
)


def _first(columns: Columns, names: Sequence[str], whole: bool = False) -> ColumnFacts | None:
    placed = [(place, c) for c in columns if (place := place_in(c, names)) is not None]
    placed = [(place, c) for place, c in placed if place < len(names)] if whole else placed
    return min(placed, key=lambda pair: pair[0])[1] if placed else None


DESCRIBING = ("header", "heading", "name", "title", "kind", "type", "style")


def describes(column: ColumnFacts, other: ColumnFacts) -> bool:
    """Whether a column's name says that it is about another one: section_header, section_text."""
    own, its = words_of(column.name), words_of(other.name)
    return len(own) > 1 and own[-1] in DESCRIBING and own[:-1] == its[:-1] and own != its


def described_by(table: Table, column: ColumnFacts) -> ColumnFacts | None:
    """The text that a column describes, if there is one."""
    return next((text for text in table.of("text") if describes(column, text)), None)
