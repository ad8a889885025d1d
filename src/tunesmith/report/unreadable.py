"""Answers that could not be read, and the comparison that needs no reading beside them."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.records import Unreadable
from tunesmith.report.format import (
    in_sentence,
    interval,
    number,
    p_value,
    percent,
    signed,
    system_name,
)
from tunesmith.report.tables import Table, TableRow


def unreadable_table(found: Sequence[Unreadable]) -> Table:
    """Each system with many unreadable answers, and the two models by their likeliest label."""
    ranked = any(one.ranked for one in found)
    by_likelihood = ("Likeliest label right", "Tuned model", "Difference", "p") if ranked else ()
    columns = ("System", "Could not be read", *by_likelihood)
    rows = tuple(
        TableRow(
            system_name(one.system),
            (percent(one.share), *(_ranked(one) if ranked else ())),
        )
        for one in found
    )
    note = (
        "By the likelihood of the labels no answer is read: this is what the models know, "
        "whatever they write."
    )
    return Table(columns, rows, note if ranked else "")


def _ranked(one: Unreadable) -> tuple[str, ...]:
    if one.ranked is None or one.levels is None:
        return ("", "", "", "")
    before, after = one.levels
    base = number(before) + (
        "" if one.ranked.a == one.system else f" ({in_sentence(system_name(one.ranked.a))})"
    )
    difference = f"{signed(one.ranked.difference)} {interval(one.ranked.ci, plus=True)}"
    return (base, number(after), difference, p_value(one.ranked.p))
