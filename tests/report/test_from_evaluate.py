"""The report reads what tunesmith.evaluate.compare gives; nothing in between."""

from __future__ import annotations

import json

import pytest

from tunesmith.evaluate.compare import compare, evaluate
from tunesmith.records import Evaluation, Example, Prediction
from tunesmith.report.content import Report, to_json
from tunesmith.report.html import render_html
from tunesmith.report.plots import plots_of
from tunesmith.report.tables import auxiliary_table, class_table, confusion_matrix

TRUE = ["good", "good", "good", "bad", "bad", "bad"]
EXAMPLES = [
    Example(f"e{i}", f"r{i}", "t", f"Text {i}", label, (), ("good", "bad"))
    for i, label in enumerate(TRUE)
]


@pytest.fixture(scope="module")
def evaluated() -> Report:
    base = _evaluation("base", ["good", "good", "good", "good", "good", "no idea"])
    tuned = _evaluation("tuned", ["good", "good", "bad", "bad", "bad", "no idea"])
    compared = compare(base, tuned, "accuracy", resamples=200)
    examples = {example.id: example for example in EXAMPLES}
    return Report(
        "r", "cannot tell", "Cannot tell.", "accuracy", [base, tuned], [compared], examples
    )


def test_classes_and_confusions_are_those_of_the_tuned_model(evaluated: Report) -> None:
    details = evaluated.evaluations[1].details
    classes, matrix = class_table(details), confusion_matrix(details)
    assert classes is not None
    assert matrix is not None
    # good: 2 of 2 answered are right, 2 of 3 found, F1 = 2 * 2 / (2 + 3)
    assert (classes.rows[0].label, classes.rows[0].cells) == (
        "good",
        ("1.000", "0.667", "0.800", "3"),
    )
    assert matrix.columns == ("good", "bad", "(none)")
    assert matrix.counts == ((2, 1, 0), (0, 2, 1))


def test_ability_stands_apart_from_format(evaluated: Report) -> None:
    table = auxiliary_table(evaluated)
    valid, given = (
        table.columns.index("Valid format") - 1,
        table.columns.index("Accuracy of valid answers") - 1,
    )
    assert table.rows[1].cells[valid].startswith("0.833 ")
    assert table.rows[1].cells[given].startswith("0.800 ")
    assert table.rows[1].cells[given].endswith("(n = 5)")


def test_the_page_and_the_json_take_it_as_it_is(evaluated: Report) -> None:
    assert "Cannot tell." in render_html(evaluated, plots_of(evaluated))
    found = json.loads(json.dumps(to_json(evaluated), allow_nan=False))
    assert (found["comparison"]["wins"], found["comparison"]["losses"]) == (2, 1)
    assert found["evaluations"]["tuned"]["accuracy"]["mean"] == pytest.approx(4 / 6)


def _evaluation(system: str, answers: list[str]) -> Evaluation:
    predictions = [
        Prediction(e.id, text, True, 1) for e, text in zip(EXAMPLES, answers, strict=True)
    ]
    return evaluate(system, "test", EXAMPLES, predictions, ["accuracy", "macro_f1"], "choice")
