"""Entities in tagged words: precision, recall and F1, equal to seqeval's (Nakayama 2018).

An entity is right where its type, its first and its last word are. All are counted over all rows
(micro), as in the CoNLL-2000 and 2003 tasks (Tjong Kim Sang and De Meulder 2003).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunesmith.data.templates.tag_cells import OUTSIDE, read_tagged
from tunesmith.evaluate.metrics.base import Answers, Metric, of_sums
from tunesmith.evaluate.reading.tags import align, parse_tags
from tunesmith.evaluate.statistics import Floats

Entity = tuple[str, int, int]
"""Type, first word and last word."""


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of one sequence, as seqeval's default mode and conlleval.pl read it.

    B and S begin one, E and S end one. A tag whose type is not that of the tag before it begins
    one, whatever its letter: I-PER after O is a whole entity.
    """
    found: list[Entity] = []
    letter, kind, first = OUTSIDE, "", 0
    for i, tag in enumerate([*tags, OUTSIDE]):
        next_letter, next_kind = tag[:1], tag[1:].split("-", maxsplit=1)[-1] or "_"
        if _ends(letter, next_letter, kind, next_kind):
            found.append((kind, first, i - 1))
        if _begins(letter, next_letter, kind, next_kind):
            first = i
        letter, kind = next_letter, next_kind
    return found


def _ends(letter: str, following: str, kind: str, next_kind: str) -> bool:
    """Whether the entity that a tag is in ends with it; both letters are the tags' first ones."""
    return (
        letter in ("E", "S")
        or (letter in ("B", "I") and following in ("B", "S", OUTSIDE))
        or (letter not in (OUTSIDE, ".") and kind != next_kind)
    )


def _begins(before: str, letter: str, kind_before: str, kind: str) -> bool:
    """Whether a tag begins an entity, given the one before it."""
    return (
        letter in ("B", "S")
        or (before in ("E", "S", OUTSIDE) and letter in ("E", "I"))
        or (letter not in (OUTSIDE, ".") and kind_before != kind)
    )


def entity_counts(answers: Answers) -> Floats:
    """rows_ND, D = 3: entities that are right, given, and wanted.

    The answer's tags are laid beside the right words (reading/tags.py). Of several right answers
    the one with the best F1 counts.
    """
    right_texts = tuple(text for row in answers.references for text in row)
    known = tuple(dict.fromkeys(right_texts))
    rows = []
    for text, references in zip(answers.texts, answers.references, strict=True):
        given = [(word, tag) for word, tag in parse_tags(text, known) or []]
        counts = (_count(given, read_tagged(reference)) for reference in references)
        rows.append(max(counts, key=lambda c: (c[0] == c[1] == c[2], c[0] / max(c[1] + c[2], 1))))
    return np.array(rows, dtype=float)


def _count(
    given: Sequence[tuple[str, str]], right: Sequence[tuple[str, str]]
) -> tuple[int, int, int]:
    found = set(entities(align(given, right)))
    wanted = set(entities([tag for _, tag in right]))
    return len(found & wanted), len(found), len(wanted)


def _precision(sums_RD: Floats) -> Floats:
    right_R, given_R, _ = sums_RD.T
    precision: Floats = right_R / np.maximum(given_R, 1)
    return precision


def _recall(sums_RD: Floats) -> Floats:
    right_R, _, wanted_R = sums_RD.T
    recall: Floats = right_R / np.maximum(wanted_R, 1)
    return recall


def _f1(sums_RD: Floats) -> Floats:
    right_R, given_R, wanted_R = sums_RD.T
    f1: Floats = 2 * right_R / np.maximum(given_R + wanted_R, 1)
    return f1


def _row_f1(rows_ND: Floats) -> Floats:
    """F1 of each row; 1 where nothing was given and nothing wanted."""
    return np.where(rows_ND[:, 1:].sum(axis=1) > 0, _f1(rows_ND), 1.0)


def _warn_of_other_lengths(answers: Answers) -> str | None:
    """Tags that are missing count as O, further ones are cut off; this says how often."""
    known = tuple(dict.fromkeys(text for row in answers.references for text in row))
    lengths = [{len(read_tagged(text)) for text in row} for row in answers.references]
    off = sum(
        len(parse_tags(text, known) or []) not in right
        for text, right in zip(answers.texts, lengths, strict=True)
    )
    if not off:
        return None
    return (
        f"{off} of {len(answers.texts)} answers do not have one tag for each word: "
        "missing tags count as O, further ones are left out"
    )


def _entry(title: str, function: str) -> Metric:
    value = {"f1": _f1, "precision": _precision, "recall": _recall}[function]
    return Metric(
        title,
        entity_counts,
        of_sums(value),
        quality=_row_f1,
        parsers=("tags",),
        warn=_warn_of_other_lengths,
    )


METRICS: dict[str, Metric] = {
    "entity_f1": _entry("Entity F1", "f1"),
    "entity_precision": _entry("Entity precision", "precision"),
    "entity_recall": _entry("Entity recall", "recall"),
}
