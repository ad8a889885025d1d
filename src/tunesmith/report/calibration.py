"""When the tuned model may answer by itself: a sentence, a table and the risk-coverage curve."""

from __future__ import annotations

import math

from tunesmith.evaluate.decisions import Calibration, Confidences
from tunesmith.records import Estimate
from tunesmith.report.charts import Line, Lines
from tunesmith.report.format import estimate, number
from tunesmith.report.tables import Table, TableRow
from tunesmith.rundir import THRESHOLD_FILE

LINES = (("base", "muted"), ("tuned", "ink"), ("tuned, with temperature", "accent"))
"""Label and colour of each system's curve."""


def threshold_sentence(found: Calibration) -> str:
    """What the threshold gives on the test rows, or that there is none."""
    fitted = found.threshold
    target = _percent(fitted.target)
    if fitted.threshold is None or found.coverage is None:
        reason = (
            f": at least {fitted.rows_needed:,} rows without a mistake are needed"
            if fitted.rows < fitted.rows_needed
            else ""
        )
        return (
            f"No threshold reaches {target} on validation ({fitted.rows:,} rows){reason}; every "
            "answer needs a person."
        )
    if found.accuracy is None:
        return (
            f"At the threshold for {target} it answers none of the {found.coverage.n:,} test rows."
        )
    return (
        f"It answers {_share(found.coverage)} of the rows, of those {_share(found.accuracy)} are "
        "right; the rest goes to a person."
    )


def threshold_note(found: Calibration) -> str:
    """How the threshold was found."""
    fitted = found.threshold
    how = (
        "An answer here is the likeliest choice, its confidence the softmax of the choices' "
        f"log-likelihoods over the temperature {number(fitted.temperature)}. Temperature and "
        f"threshold were fitted on {fitted.rows:,} validation rows before the test split was opened"
    )
    if fitted.threshold is None or fitted.accuracy_at_least is None:
        return f"{how}."
    return (
        f"{how}: from a confidence of {number(fitted.threshold)}, {fitted.right:,} of "
        f"{fitted.answered:,} were right there, so at least {_percent(fitted.accuracy_at_least)} "
        f"are (at {_percent(fitted.confidence)} confidence; {_percent(fitted.target)} was asked "
        f"for). They are saved with the model in {THRESHOLD_FILE}."
    )


def confidence_table(found: Calibration) -> Table:
    """Before, after, and after with the temperature."""
    rows = tuple(
        TableRow(
            one.title,
            (
                estimate(one.accuracy),
                estimate(one.ece),
                number(one.ece_if_calibrated),
                estimate(one.brier),
                number(one.aurc),
            ),
            marked=i == len(found.systems) - 1,
        )
        for i, one in enumerate(found.systems)
    )
    sizes = {one.accuracy.n for one in found.systems}
    note = (
        f"n = {max(sizes, default=0):,} test rows. ECE: expected calibration error, in 15 bins of "
        "equal size; beside it what so many rows give on average where every confidence is right. "
        "Brier: squared distance of the probabilities from the truth, 0 to 2. AURC: area under the "
        "risk-coverage curve. Lower is better for all three."
    )
    columns = ("", "Accuracy", "ECE", "ECE if calibrated", "Brier score", "AURC")
    return Table(columns, rows, note, title="How far its confidence can be believed")


def risk_coverage_chart(found: Calibration) -> Lines:
    """The share of wrong answers by the share of rows answered, the most confident first."""
    lines = tuple(
        Line(one.curve, label, colour)
        for one, (label, colour) in zip(found.systems, LINES, strict=True)
    )
    title = "Risk by coverage"
    alt = f"{title}: " + "; ".join(f"{one.title} {_ends(one)}" for one in found.systems)
    return Lines(
        "risk_coverage",
        title,
        alt,
        lines,
        None,
        "share of wrong answers",
        legend=True,
        x_axis="share of rows answered, the most confident first",
    )


def _ends(one: Confidences) -> str:
    half = min(one.curve, key=lambda point: abs(point[0] - 0.5))
    return f"{half[1]:.3f} wrong at {half[0]:.0%}, {one.curve[-1][1]:.3f} of all rows"


def _share(found: Estimate) -> str:
    """`81 % [77, 85]`; a decimal where a whole number would say 100 % of what is not all."""
    if any(map(math.isnan, found.ci)):
        return f"{100 * found.mean:.0f} % (no interval)"
    decimals = 1 if found.mean not in (0, 1) and round(100 * found.mean) in (0, 100) else 0
    low, high = (f"{100 * end:.{decimals}f}" for end in found.ci)
    return f"{100 * found.mean:.{decimals}f} % [{low}, {high}]"


def _percent(share: float) -> str:
    """Never rounded up: at least 94.97 % is not 95 %."""
    return f"{int(1000 * share + 1e-9) / 10:g} %"
