from __future__ import annotations

from dataclasses import replace

from tunesmith.records import Evaluation, Example, Prediction, Turn
from tunesmith.report.cases import choose_cases, common_start
from tunesmith.report.content import Report


def test_fixed_rows_were_wrong_and_are_right() -> None:
    found = choose_cases(_report(base=[0, 0, 1, 1], tuned=[1, 0, 0, 1]))
    assert found is not None
    assert [case.id for case in found.fixed] == ["e0"]
    assert [case.id for case in found.broken] == ["e2"]
    assert (found.fixed[0].before, found.fixed[0].after, found.fixed[0].reference) == (
        "base 0",
        "tuned 0",
        "right 0",
    )


def test_at_most_ten_are_shown_and_all_are_counted() -> None:
    found = choose_cases(_report(base=[0] * 25, tuned=[1] * 25))
    assert found is not None
    assert (len(found.fixed), found.num_fixed, found.num_broken) == (10, 25, 0)


def test_the_choice_among_equals_does_not_depend_on_the_order_of_rows() -> None:
    report = _report(base=[0] * 25, tuned=[1] * 25)
    turned = replace(
        report, evaluations=[_reversed(evaluation) for evaluation in report.evaluations]
    )
    first, second = choose_cases(report), choose_cases(turned)
    assert first is not None
    assert first == second
    assert [case.id for case in first.fixed] != [f"e{i}" for i in range(10)]


def test_graded_answers_are_ranked_by_their_gain() -> None:
    found = choose_cases(_report(base=[0.5, 0.1, 0.4], tuned=[0.6, 0.9, 0.1], metric="rougeL"))
    assert found is not None
    assert [case.id for case in found.fixed] == ["e1", "e0"]
    assert [case.id for case in found.broken] == ["e2"]
    assert found.graded
    assert found.groups[0][0] == "Most improved (2 of 2)"


def test_a_lower_error_is_a_gain() -> None:
    found = choose_cases(_report(base=[3.0, 1.0], tuned=[1.0, 2.0], metric="mae"))
    assert found is not None
    assert [case.id for case in found.fixed] == ["e0"]


def test_a_corpus_metric_falls_back_to_one_with_scores_and_never_to_an_auxiliary() -> None:
    report = _report(base=[0, 1], tuned=[1, 1], metric="accuracy")
    evaluations = [replace(e, scores={"stopped": [0, 0], **e.scores}) for e in report.evaluations]
    found = choose_cases(replace(report, primary_metric="macro_f1", evaluations=evaluations))
    assert found is not None
    assert found.metric == "accuracy"


def test_without_a_shared_score_there_are_no_cases() -> None:
    report = _report(base=[0], tuned=[1])
    assert choose_cases(replace(report, evaluations=report.evaluations[:1])) is None


def test_turns_before_the_prompt_are_shown_with_it() -> None:
    report = _report(base=[0], tuned=[1])
    example = replace(report.examples["e0"], history=(Turn("system", "Be brief."),))
    found = choose_cases(replace(report, examples={"e0": example}))
    assert found is not None
    assert found.fixed[0].prompt == "system: Be brief.\n\nprompt 0"


def test_the_common_start_ends_with_a_line() -> None:
    assert common_start(["Do it.\nText: a\nEnd", "Do it.\nText: b\nEnd"]) == "Do it.\n"
    assert common_start(["Do it.\nText: a", "Don't.\nText: a"]) == ""


def test_the_common_start_leaves_something_of_every_prompt() -> None:
    assert common_start(["same\nprompt", "same\nprompt"]) == "same\n"
    assert common_start(["one\n", "one\n"]) == ""
    assert common_start(["alone\nhere"]) == ""


def _report(base: list[float], tuned: list[float], metric: str = "accuracy") -> Report:
    ids = [f"e{i}" for i in range(len(base))]
    examples = {id: Example(id, id, "t", f"prompt {i}", f"right {i}") for i, id in enumerate(ids)}
    systems = [
        _evaluation(name, ids, metric, scores)
        for name, scores in (("base", base), ("tuned", tuned))
    ]
    return Report("r", "better", "v", metric, systems, (), examples)


def _evaluation(system: str, ids: list[str], metric: str, scores: list[float]) -> Evaluation:
    answers = [Prediction(id, f"{system} {i}", True, 2) for i, id in enumerate(ids)]
    return Evaluation(system, "test", ids, ids, answers, {metric: scores}, {})


def _reversed(evaluation: Evaluation) -> Evaluation:
    return replace(
        evaluation,
        example_ids=evaluation.example_ids[::-1],
        predictions=evaluation.predictions[::-1],
        scores={name: values[::-1] for name, values in evaluation.scores.items()},
    )
