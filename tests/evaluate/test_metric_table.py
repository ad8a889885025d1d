"""The table of metrics, and the door through which packages add their own."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tunesmith.data.plan import plan_sources
from tunesmith.data.sources.members import SourceRows
from tunesmith.data.templates.families import family_names
from tunesmith.data.templates.resolve import find_templates
from tunesmith.errors import RecipeError, TemplateError
from tunesmith.evaluate.compare import evaluate
from tunesmith.evaluate.metrics import (
    GENERAL,
    METRICS,
    check_recipe_metrics,
    check_template_metrics,
    find_metric,
    likelihood_metrics,
    table,
)
from tunesmith.evaluate.score_file import score_file
from tunesmith.evaluate.statistics import weighted_mean
from tunesmith.evaluate.verdict import verdict
from tunesmith.recipe import DataConfig
from tunesmith.records import Comparison, Example, Prediction
from tunesmith.report.format import is_auxiliary, lower_is_better, metric_name

MODULE = """
from tunesmith.evaluate.metrics import Metric, per_example

def score(answers):
    pairs = zip(answers.texts, answers.references, strict=True)
    return [abs(text.count("!") - row[0].count("!")) for text, row in pairs]

excitement = Metric(
    "Exclamation marks off", per_example(score), higher_is_better=False, unit="plain"
)
"""
FAMILY = """
family: cheer
about: cheer somebody up
slots: {text: {type: text}, target: {type: target}}
metrics: [excitement, exact_match]
parser: text
wordings:
  - {name: plain, template: "Cheer up: {{ text }} ||| {{ target }}"}
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a package `cheerful` with these entry points, as pip would."""

    def install(*entries: str, package: str = "cheerful") -> None:
        site = tmp_path / package
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join(["[tunesmith.metrics]", *entries]))
        (site / f"{package}_metrics.py").write_text(MODULE)
        monkeypatch.syspath_prepend(site)
        forget()

    yield install
    monkeypatch.undo()
    forget()


def forget() -> None:
    table._installed.cache_clear()
    table._load.cache_clear()


def test_a_users_metric_and_task_family_need_no_change_of_ours(
    install: Install, tmp_path: Path
) -> None:
    install("excitement = cheerful_metrics:excitement")
    (tmp_path / "cheer.yaml").write_text(FAMILY)
    rows = [("sad", "Go on!", "Go on", "Go on!!!"), ("low", "Yes!!", "Yes!!", "No!!")]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "target", "a", "b"), *rows])

    found = score_file(path, "target", {"a": "a", "b": "b"}, ["excitement"], resamples=100)
    assert found["metrics"]["a"]["excitement"]["mean"] == 0.5
    assert found["metrics"]["b"]["excitement"]["mean"] == 1.0
    assert found["comparisons"][0]["difference"] == 0.5

    data = DataConfig(source=str(path), template=str(tmp_path / "cheer.yaml"))
    (template,) = plan_sources(data, SourceRows(data))[0].templates
    check_template_metrics(template.name, template.metrics)
    examples = [Example(row[0], row[0], template.name, "", row[1]) for row in rows]
    predictions = [Prediction(row[0], row[2], True, 1) for row in rows]
    scored = evaluate("a", "test", examples, predictions, template.metrics, template.parser)
    assert {name: scored.estimates[name].mean for name in template.metrics} == {
        "excitement": 0.5,
        "exact_match": 0.5,
    }
    assert metric_name("excitement") == "Exclamation marks off"
    assert lower_is_better("excitement")
    assert not is_auxiliary("excitement")


def test_without_the_package_the_family_is_refused_and_says_which_metric_is_missing(
    tmp_path: Path,
) -> None:
    (tmp_path / "cheer.yaml").write_text(FAMILY)
    (template,) = find_templates(str(tmp_path / "cheer.yaml"))
    with pytest.raises(TemplateError, match=r"cheer.*: unknown metric 'excitement'"):
        check_template_metrics(template.name, template.metrics)


@pytest.mark.parametrize("name", ["accuracy", "valid"])
def test_a_metric_with_the_name_of_one_of_ours_is_an_error_for_every_metric(
    install: Install, name: str
) -> None:
    install(f"{name} = cheerful_metrics:excitement")
    with pytest.raises(RecipeError) as caught:
        find_metric("rougeL")
    assert str(caught.value) == (
        f"the metric {name!r} of cheerful has the name of one of tunesmith\n"
        "hint: rename its entry point in the group 'tunesmith.metrics', or uninstall it"
    )


def test_two_packages_with_one_name_for_a_metric_are_an_error(install: Install) -> None:
    install("excitement = cheerful_metrics:excitement")
    install("excitement = other_metrics:excitement", package="other")
    with pytest.raises(RecipeError, match=r"'excitement' of .* has the name of one of"):
        find_metric("accuracy")


def test_a_metric_is_loaded_only_when_it_is_asked_for(install: Install) -> None:
    install("broken = cheerful_metrics:nothing", "number_of = math:pi")
    assert find_metric("accuracy") is METRICS["accuracy"]
    with pytest.raises(RecipeError, match=r"'broken' of cheerful cannot be loaded: .*nothing"):
        find_metric("broken")
    with pytest.raises(RecipeError, match="'number_of' of cheerful is a float"):
        find_metric("number_of")


def test_a_misspelt_metric_of_a_package_is_recognised(install: Install) -> None:
    install("excitement = cheerful_metrics:excitement")
    with pytest.raises(RecipeError, match="did you mean 'excitement'"):
        check_recipe_metrics(["exitement"])


@pytest.mark.parametrize("family", family_names())
def test_the_librarys_families_name_metrics_that_there_are(family: str) -> None:
    for template in find_templates(family):
        check_template_metrics(template.name, template.metrics)


def test_a_family_cannot_ask_for_likelihoods() -> None:
    with pytest.raises(TemplateError, match="mine/one: perplexity is a metric of likelihoods"):
        check_template_metrics("mine/one", ["exact_match", "perplexity"])


@pytest.mark.parametrize("name", ["rmse", "mcc", "pearson", "ter", "micro_f1"])
def test_every_metric_can_be_named_in_a_family(name: str) -> None:
    check_template_metrics("mine/one", [name])


def test_titles_tell_metrics_apart_and_general_ones_are_shown_apart() -> None:
    titles = [metric.title for metric in [*METRICS.values(), *GENERAL.values()]]
    assert len(set(titles)) == len(titles)
    assert all(is_auxiliary(name) for name in GENERAL)
    assert [name for name in METRICS if is_auxiliary(name)] == ["perplexity", "bits_per_byte"]


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.binary])
def test_a_right_or_wrong_metric_is_a_mean_of_fractions(name: str) -> None:
    """What Wilson's interval and McNemar's test take for granted."""
    metric = METRICS[name]
    assert metric.value is weighted_mean
    assert (metric.unit, metric.higher_is_better) == ("fraction", True)


def test_metrics_of_likelihoods_are_those_that_the_predictions_can_have() -> None:
    both = Prediction(
        "1", "", True, 1, (-1.0, -2.0), -1.0, 2, choice_logprobs_without_stop=(-0.5, -1.0)
    )
    only_reference = Prediction("2", "", True, 1, (), -1.0, 2)
    assert likelihood_metrics([both]) == [
        "choice_acc", "choice_acc_norm", "choice_acc_bytes", "perplexity", "bits_per_byte",
    ]  # fmt: skip
    assert likelihood_metrics([both, only_reference]) == ["perplexity", "bits_per_byte"]
    of_an_older_run = Prediction("4", "", True, 1, (-1.0, -2.0), -1.0, 2)
    assert likelihood_metrics([of_an_older_run]) == ["perplexity", "bits_per_byte"]
    assert likelihood_metrics([both, Prediction("3", "", True, 1)]) == []


def test_a_verdict_is_written_in_the_metrics_own_unit() -> None:
    found = Comparison("a", "b", "ter", -4.0, 1.0, 1.0, (-6.0, -2.0), 0.001, 5, 0, 1, 100, 100, 2.0)
    assert verdict(found).sentence.startswith("b is better than a: ter -4.0 points")
