"""The page's table of all test rows: packed for the script, and a sample of it for everyone else.

Texts of rows reach the page as base64 of compressed JSON: there is nothing in it that a browser
could take for markup, and ten thousand rows stay small.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from tunesmith.evaluate.system_table import TUNED
from tunesmith.inert import inert
from tunesmith.report.format import in_sentence, lower_is_better, number, system_name
from tunesmith.report.rows import OUTCOMES, AnswerColumn, AnsweredRows, Outcome
from tunesmith.report.tables import Table, TableRow

MAX_PACKED = 1_600_000
"""Characters of packed rows: with the library, style and plots a page stays under 3 MB."""
CUTS = (4000, 2000, 1000, 500, 250, 120, 60)
"""Lengths to which texts are cut; the first that fits is taken."""
LEVEL = 6
"""Of zlib; 9 takes ten times as long for a page that is a thirtieth smaller."""
SAMPLE = 5
"""Rows of each outcome in the sample."""
SAMPLE_CUT = 240


@dataclass(frozen=True, slots=True)
class Packed:
    """`data` is what the script reads; texts are cut to `cut` characters, of which the longest has
    `longest`, and `rows` of `total` are there.
    """

    data: str
    cut: int
    longest: int
    rows: int
    total: int

    @property
    def shortened(self) -> bool:
        """Whether any text is cut."""
        return self.longest > self.cut

    @property
    def note(self) -> str:
        """What the page says of rows and texts that are not there whole; empty where all are."""
        where = "whole in evaluation/SYSTEM/test.parquet of the run folder."
        cut = f"Texts are cut after {self.cut:,} characters" if self.shortened else ""
        left = f"the first {self.rows:,} of {self.total:,} rows are here"
        found = [part for part in (cut, left if self.rows < self.total else "") if part]
        if not found:
            return ""
        text = "; ".join(found)
        return f"{text[:1].upper()}{text[1:]}, so that this page stays small: they are {where}"


def pack(rows: AnsweredRows, limit: int = MAX_PACKED) -> Packed:
    """The rows with the longest texts that fit into `limit` characters. Where not even the shortest
    do, the first half of the rows, a quarter ... are packed.
    """
    count, ends = len(rows.examples), common_ends(rows.prompts)
    packed = _packed(rows, ends, CUTS[0], count)
    for cut in CUTS[1:]:
        # a cut that no text is as long as changes nothing
        if len(packed.data) > limit and cut < packed.longest:
            packed = _packed(rows, ends, cut, count)
    while len(packed.data) > limit and count > 1:
        count //= 2
        packed = _packed(rows, ends, CUTS[-1], count)
    return packed


def _packed(rows: AnsweredRows, ends: tuple[str, str], cut: int, count: int) -> Packed:
    longest = 0

    def text(value: str) -> str:
        nonlocal longest
        shown = inert(value)
        longest = max(longest, len(shown))
        return shown if len(shown) <= cut else f"{shown[:cut]}\N{HORIZONTAL ELLIPSIS}"

    values = json.dumps(
        _columns(rows, ends, text, count),
        ensure_ascii=False,
        separators=(",", ":"),
        allow_nan=False,
    )
    data = base64.b64encode(zlib.compress(values.encode(), LEVEL)).decode()
    return Packed(data, cut, longest, count, len(rows.examples))


def _columns(
    rows: AnsweredRows, ends: tuple[str, str], text: Callable[[str], str], count: int
) -> Mapping[str, object]:
    """What browser.js reads; every list of rows is in their order."""
    start, end = ends
    return {
        "systems": [inert(system_name(column.system)) for column in rows.answers],
        "tuned": [column.system for column in rows.answers].index(TUNED),
        "before": [column.system for column in rows.answers].index(rows.before),
        "outcomes": OUTCOMES,
        "tasks": [
            {
                "name": inert(judge.name),
                "metric": inert(judge.title),
                "lower": lower_is_better(judge.metric),
                "graded": judge.graded,
                "shown": judge.graded and judge.shown,
            }
            for judge in rows.judges
        ],
        "task": rows.judge_of[:count],
        "classes": [inert(name) for name in rows.classes],
        "class": rows.true_classes[:count],
        "slices": [_slice(name, parts[:count]) for name, parts in rows.slices.items()],
        "start": text(start),
        "end": text(end),
        "id": [text(example.id) for example in rows.examples[:count]],
        "source": [text(example.source) for example in rows.examples[:count]],
        "prompt": [text(_own(prompt, start, end)) for prompt in rows.prompts[:count]],
        "reference": [text(reference) for reference in rows.references[:count]],
        "answers": [_answers(column, text, count) for column in rows.answers],
    }


def _slice(name: str, parts: tuple[str, ...]) -> Mapping[str, object]:
    values = sorted(set(parts))
    numbers = {value: i for i, value in enumerate(values)}
    return {
        "name": inert(name),
        "values": [inert(value) for value in values],
        "of": [numbers[part] for part in parts],
    }


def _answers(column: AnswerColumn, text: Callable[[str], str], count: int) -> Mapping[str, object]:
    return {
        "text": [None if value is None else text(value) for value in column.texts[:count]],
        "quality": [_rounded(quality) for quality in column.quality[:count]],
        "valid": [int(valid) for valid in column.valid[:count]],
        "class": column.classes[:count],
    }


def _rounded(quality: float | None) -> float | None:
    return round(quality, 6) if quality is not None and math.isfinite(quality) else None


def common_ends(prompts: Sequence[str]) -> tuple[str, str]:
    r"""What all prompts begin with and end with, in whole words: of each there is something left.

    >>> common_ends(["Label it.\nText: good\nLabel:", "Label it.\nText: bad\nLabel:"])
    ('Label it.\nText: ', '\nLabel:')
    """
    if len(set(prompts)) < 2:
        return "", ""
    start = _shared(prompts)
    start = start[: _last_space(start)]
    rest = [prompt[len(start) :][::-1] for prompt in prompts]
    end = _shared(rest)
    end = end[: _last_space(end)][::-1]
    return (start, end) if all(len(own) > len(end) for own in rest) else (start, "")


def _shared(texts: Sequence[str]) -> str:
    """What all texts begin with: what the first and the last of them in order do."""
    pairs = zip(min(texts), max(texts), strict=False)
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _last_space(text: str) -> int:
    """The place after the last white space, 0 without one."""
    return max((i + 1 for i, letter in enumerate(text) if letter.isspace()), default=0)


def _own(prompt: str, start: str, end: str) -> str:
    return prompt[len(start) : len(prompt) - len(end)]


# ---- without the script


def sample_table(rows: AnsweredRows) -> Table:
    """Up to SAMPLE rows of each outcome, drawn by a hash of their ids: neither the file's first
    rows nor the most flattering ones.
    """
    chosen = [(outcome, i) for outcome, found in _places(rows).items() for i in _drawn(rows, found)]
    (start, end), before = common_ends(rows.prompts), rows.column(rows.before)
    shown = tuple(
        TableRow(
            OUTCOMES[outcome],
            (
                _cut(_own(rows.prompts[i], start, end)),
                _cut(rows.references[i]),
                _answer(rows, before, i),
                _answer(rows, rows.column(TUNED), i),
            ),
        )
        for outcome, i in chosen
    )
    columns = ("Outcome", "Text", "Right answer", system_name(rows.before), system_name(TUNED))
    return Table(columns, shown, text_columns=(1, 2, 3, 4))


def rows_note(rows: AnsweredRows) -> str:
    """`234 rows by accuracy, base model against tuned model: 76 fixed, 12 broken ...`."""
    counted = counts(rows)
    found = ", ".join(f"{n:,} {OUTCOMES[outcome].lower()}" for outcome, n in counted.items())
    systems = f"{in_sentence(system_name(rows.before))} against {in_sentence(system_name(TUNED))}"
    by = " and ".join(dict.fromkeys(in_sentence(judge.title) for judge in rows.judges))
    unknown = len(rows.examples) - sum(counted.values())
    rest = f"; {unknown:,} that one of the two was not asked" if unknown else ""
    return f"{len(rows.examples):,} rows by {by}, {systems}: {found}{rest}."


def counts(rows: AnsweredRows) -> dict[Outcome, int]:
    """How many rows came to each outcome, against the verdict's reference system; none of 0."""
    return {outcome: len(found) for outcome, found in _places(rows).items() if found}


def _places(rows: AnsweredRows) -> dict[Outcome, list[int]]:
    """The rows of each outcome, against the verdict's reference system."""
    found: dict[Outcome, list[int]] = {outcome: [] for outcome in OUTCOMES}
    for i in range(len(rows.examples)):
        outcome = rows.outcome(i, rows.before)
        if outcome is not None:
            found[outcome].append(i)
    return found


def _drawn(rows: AnsweredRows, places: Sequence[int]) -> list[int]:
    return sorted(places, key=lambda i: hashlib.sha256(rows.examples[i].id.encode()).digest())[
        :SAMPLE
    ]


def _answer(rows: AnsweredRows, column: AnswerColumn, i: int) -> str:
    text, quality, judge = column.texts[i], column.quality[i], rows.judges[rows.judge_of[i]]
    shown = _cut(text or "") or "(empty)"
    if quality is None or not (judge.graded and judge.shown):
        return shown
    return f"{shown} ({number(abs(quality))})"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SAMPLE_CUT else f"{line[:SAMPLE_CUT]}\N{HORIZONTAL ELLIPSIS}"
