"""Which answer is preferred, by people and by models: a table, and what it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.evaluate.preference import Preference
from tunesmith.records import Estimate
from tunesmith.report.format import (
    DASH,
    estimate,
    in_sentence,
    number,
    p_value,
    percent,
    system_name,
)
from tunesmith.report.tables import Table, TableRow

TITLE = "Which answer is preferred"
NOTE = (
    "Judged on test rows to which the two systems gave different answers; a win is the tuned "
    "model's. The win rate counts a tie as half, so that 0.5 is no preference; its interval is "
    "over rows, for these judges. p: sign test. Nothing in this section enters the verdict."
)


def preference_notes(preferences: Sequence[Preference]) -> tuple[str, ...]:
    """How the votes came about, and what to hold against them."""
    shown = [_shown(preference) for preference in preferences]
    return (
        NOTE,
        *dict.fromkeys(text for text in shown if text),
        *map(_doubts, _models(preferences)),
    )


def preference_table(preferences: Sequence[Preference]) -> Table:
    """A row for each review and each model."""
    rows = tuple(
        TableRow(
            f"{_judge(one)}, against {system_name(one.a)}",
            (
                f"{one.count.wins:,} / {one.count.ties:,} / {one.count.losses:,}",
                estimate(one.count.win_rate),
                p_value(one.count.p),
                _agreement(one),
            ),
        )
        for one in preferences
    )
    columns = ("Judge", "Won / tied / lost", "Win rate", "p", "Agreement (kappa)")
    return Table(columns, rows, note=_agreement_note(preferences))


def bias_table(preferences: Sequence[Preference]) -> Table:
    """What a judge may have gone by instead of the content: the place and the length."""
    rows = tuple(
        TableRow(_judge(one), (_share(one.first), _share(one.count.longer))) for one in preferences
    )
    return Table(
        ("Judge", "The first answer won", "The longer answer won"),
        rows,
        title="Place and length",
        note="Of the votes with a preference. Half is what place and length would give by chance; "
        "a longer answer can also be the better one.",
    )


def _models(preferences: Sequence[Preference]) -> list[Preference]:
    return [one for one in preferences if one.kind == "model"]


def _judge(one: Preference) -> str:
    return one.judge if one.kind == "people" else f"Model {one.judge}"


def _subject(one: Preference) -> str:
    return one.judge if one.kind == "people" else f"The model {one.judge}"


def _shown(one: Preference) -> str:
    return (
        f"{_subject(one)} judged {one.count.pairs:,} of the {one.rows - one.same:,} test rows to "
        f"which the tuned model and the {in_sentence(system_name(one.a))} gave different answers; "
        f"to {one.same:,} of {one.rows:,} they gave the same."
    )


def _doubts(one: Preference) -> str:
    changed = f"{percent(one.inconsistent)} of its" if one.inconsistent is not None else "its"
    unread = (
        f" {one.unreadable:,} of {2 * one.count.pairs:,} replies held no verdict and count as ties."
        if one.unreadable
        else ""
    )
    return (
        f"{_subject(one)} saw each pair in both orders; {changed} verdicts changed with the order "
        f"and count as ties.{unread} A model's preference is no person's: look at its agreement "
        "with people before you rely on it."
    )


def _agreement(one: Preference) -> str:
    found = one.agreement
    if found.agreed is None:
        return DASH
    return f"{number(found.kappa, 2)} ({percent(found.agreed)} of {found.common:,})"


def _agreement_note(preferences: Sequence[Preference]) -> str:
    if all(one.agreement.agreed is None for one in preferences):
        return ""
    return (
        "Agreement: Cohen's kappa (1 is full, 0 what chance gives) and, in brackets, the share of "
        "equal votes: of people with each other, the mean over all pairs of people; of a model "
        "with the people's mean vote."
    )


def _share(value: Estimate | None) -> str:
    return DASH if value is None else f"{estimate(value)} (n={value.n:,})"
