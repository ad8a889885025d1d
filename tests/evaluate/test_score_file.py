"""Scoring of a table of outputs: what is read, which metrics, the comparisons, the warnings."""

from __future__ import annotations

import csv
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
from rouge_score.rouge_scorer import RougeScorer
from support import shared

from tunesmith.cli import main
from tunesmith.errors import DataError, RecipeError
from tunesmith.evaluate.score_file import render, score_file
from tunesmith.evaluate.statistics import holm, mcnemar, wilson_interval
from tunesmith.recipe import metric_options

SYSTEMS = {"base": "out_base", "tuned": "out_tuned"}


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def labelled_rows(n: int = 40) -> list[dict[str, str]]:
    rng = random.Random(0)
    rows = []
    for i in range(n):
        gold = rng.choice(["ham", "spam"])
        base = gold if rng.random() < 0.4 else rng.choice(["ham", "spam", "I cannot say"])
        rows.append(
            {
                "key": f"k{i}",
                "gold": gold,
                "out_base": base,
                "out_tuned": gold if rng.random() < 0.9 else "ham",
            }
        )
    return rows


def test_labels_are_scored_as_classes_with_wilson_and_mcnemar(tmp_path: Path) -> None:
    rows = labelled_rows()
    result = score_file(write_csv(tmp_path / "out.csv", rows), "gold", SYSTEMS, resamples=500)
    assert list(result["metrics"]["base"])[:3] == ["accuracy", "macro_f1", "mcc"]
    assert result["rule"].startswith("labels: ")
    right = [row["gold"] == row["out_base"] for row in rows]
    accuracy = result["metrics"]["base"]["accuracy"]
    assert set(accuracy) == {"mean", "n", "se", "ci", "note"}
    assert accuracy["mean"] == sum(right) / 40
    assert accuracy["ci"] == pytest.approx(list(wilson_interval(sum(right), 40)))
    comparison = result["comparisons"][0]
    only = [(row["gold"] == row["out_base"], row["gold"] == row["out_tuned"]) for row in rows]
    assert comparison["p"] == mcnemar(only.count((True, False)), only.count((False, True)))
    assert comparison["wins"] == only.count((False, True))
    assert {
        "a",
        "b",
        "metric",
        "difference",
        "se",
        "se_clustered",
        "ci",
        "p",
        "wins",
        "ties",
        "losses",
        "n",
        "clusters",
    } <= set(comparison)
    labels = list(dict.fromkeys(row["gold"] for row in rows))
    assert [row["label"] for row in result["details"]["base"]["per_class"]] == labels
    assert result["details"]["base"]["confusion"]["labels"] == labels
    json.dumps(result, allow_nan=False)


def test_csv_jsonl_and_parquet_give_the_same_numbers(tmp_path: Path) -> None:
    rows = labelled_rows()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "out.parquet")
    paths = [
        write_csv(tmp_path / "out.csv", rows),
        write_jsonl(tmp_path / "out.jsonl", rows),
        tmp_path / "out.parquet",
    ]
    first, *others = [score_file(path, "gold", SYSTEMS, resamples=200) for path in paths]
    assert all(other["metrics"] == first["metrics"] for other in others)
    assert all(other["comparisons"] == first["comparisons"] for other in others)


def test_more_than_two_systems_give_all_pairs_with_holm(tmp_path: Path) -> None:
    systems = {**SYSTEMS, "again": "out_tuned"}
    path = write_csv(tmp_path / "out.csv", labelled_rows())
    result = score_file(path, "gold", systems, ["accuracy"], resamples=200)
    assert [(c["a"], c["b"]) for c in result["comparisons"]] == [
        ("base", "tuned"),
        ("base", "again"),
        ("tuned", "again"),
    ]
    p_values = [c["p"] for c in result["comparisons"]]
    assert [c["p_holm"] for c in result["comparisons"]] == holm(p_values)
    assert p_values[2] == 1.0
    assert result["comparisons"][2]["verdict"]["kind"] == "cannot tell"


def test_clusters_widen_the_interval(tmp_path: Path) -> None:
    rows = [{"group": i // 5, "gold": "ab"[i // 5 % 2], "p": "ab"[i // 10 % 2]} for i in range(60)]
    path = write_jsonl(tmp_path / "out.jsonl", rows)
    plain = score_file(path, "gold", {"p": "p"}, ["accuracy"])
    clustered = score_file(path, "gold", {"p": "p"}, ["accuracy"], cluster_by="group")
    assert (plain["clusters"], clustered["clusters"]) == (60, 12)
    assert clustered["metrics"]["p"]["accuracy"]["se"] > 2 * plain["metrics"]["p"]["accuracy"]["se"]


def test_rouge_is_a_group_and_takes_the_best_of_several_references(tmp_path: Path) -> None:
    rows = [
        {"gold": ["the cat sat", "a dog ran home"], "p": "a dog ran"},
        {"gold": ["it rains on the hill"], "p": "it rains"},
    ]
    result = score_file(write_jsonl(tmp_path / "a.jsonl", rows), "gold", {"p": "p"}, ["rouge"])
    scorer = RougeScorer(["rouge1"])
    expected = [
        max(scorer.score(r, row["p"])["rouge1"].fmeasure for r in row["gold"]) for row in rows
    ]
    assert result["metrics"]["p"]["rouge1"]["mean"] == pytest.approx(sum(expected) / 2)
    assert set(result["metrics"]["p"]) >= {"rouge1", "rouge2", "rougeL", "rougeLsum"}
    as_text = [{"gold": json.dumps(row["gold"]), "p": row["p"]} for row in rows]
    again = score_file(write_csv(tmp_path / "b.csv", as_text), "gold", {"p": "p"}, ["rouge"])
    assert again["metrics"] == result["metrics"]


def test_each_row_is_read_by_itself(tmp_path: Path) -> None:
    """A row that is no list does not turn the lists of the others into text."""
    squad = {"text": ["Cork", "in Cork"], "answer_start": [0, 3]}
    rows = [
        {"gold": '["x", "y"]', "p": "y"},
        {"gold": "['x', 'y']", "p": "y"},
        {"gold": str(squad), "p": "in Cork"},
        {"gold": "y", "p": "y"},
        {"gold": "[x]", "p": "x"},
    ]
    result = score_file(write_csv(tmp_path / "a.csv", rows), "gold", {"p": "p"}, ["exact_match"])
    assert result["metrics"]["p"]["exact_match"]["mean"] == 0.8
    lists = [{"gold": gold, "p": p} for gold, p in ((["x", "y"], "y"), (squad, "Cork"), ("z", "z"))]
    again = score_file(
        write_jsonl(tmp_path / "b.jsonl", lists), "gold", {"p": "p"}, ["exact_match"]
    )
    assert again["metrics"]["p"]["exact_match"]["mean"] == 1.0


def test_several_reference_columns_all_count(tmp_path: Path) -> None:
    rows = [{"a": "x", "b": "y", "p": "y"}, {"a": "x", "b": "", "p": "x"}]
    path = write_csv(tmp_path / "a.csv", rows)
    result = score_file(path, ["a", "b"], {"p": "p"}, ["exact_match"])
    assert result["metrics"]["p"]["exact_match"]["mean"] == 1.0
    assert result["references"] == "alternatives, any one of which is right, for exact_match"
    assert score_file(path, "a", {"p": "p"}, ["exact_match"])["references"] == ""
    with pytest.raises(DataError, match=r"a.csv:3: no reference in 'b' or 'c'"):
        score_file(
            write_csv(tmp_path / "a.csv", [{"a": "x", "b": "y", "c": ""}, {"b": "", "c": ""}]),
            ["b", "c"],
            {"p": "a"},
        )


def set_rows(n: int = 60) -> list[dict[str, Any]]:
    """Two of four labels a row; `half` writes one of them, `all` writes both, in another order."""
    rng = random.Random(0)
    rows = []
    for _ in range(n):
        gold = rng.sample(["sport", "politics", "art", "trade"], 2)
        rows.append({"gold": gold, "half": gold[0], "all": f"{gold[1]}, {gold[0]}"})
    return rows


HALF_AND_ALL = {"half": "half", "all": "all"}


@pytest.mark.parametrize("form", ["jsonl", "json text", "python text", "separated"])
@pytest.mark.parametrize("references_are", [None, "set"])
def test_whole_sets_beat_half_of_them(tmp_path: Path, form: str, references_are: Any) -> None:
    rows, path = set_rows(), tmp_path / "a.csv"
    if form == "jsonl":
        path = write_jsonl(tmp_path / "a.jsonl", rows)
    else:
        write = {"json text": json.dumps, "python text": str, "separated": "; ".join}[form]
        write_csv(path, [row | {"gold": write(row["gold"])} for row in rows])
    if form == "separated":
        references_are = "set"  # without it a separated text is one label
    result = score_file(path, "gold", HALF_AND_ALL, references_are=references_are, resamples=200)
    assert result["metrics"]["all"]["exact_set"]["mean"] == 1.0
    assert result["metrics"]["half"]["exact_set"]["mean"] == 0.0
    assert result["metrics"]["half"]["jaccard"]["mean"] == 0.5
    assert result["metrics"]["half"]["multilabel_micro_f1"]["mean"] == pytest.approx(2 / 3)
    verdicts = [comparison["verdict"]["sentence"] for comparison in result["comparisons"]]
    assert all(sentence.startswith("all is better than half") for sentence in verdicts)
    between = " (texts are cut at ';')" if form == "separated" else ""
    metrics = ", ".join(list(result["metrics"]["all"])[:4])
    assert result["references"] == (
        f"a set, all of which is right together{between}, for {metrics}"
    )
    assert f"References: {result['references']}." in render(result).splitlines()


def test_one_list_is_a_set_to_metrics_of_sets_and_alternatives_to_others(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", set_rows())
    result = score_file(path, "gold", HALF_AND_ALL, ["exact_match", "exact_set"], resamples=200)
    means = {name: result["metrics"][name] for name in HALF_AND_ALL}
    assert [means["half"][m]["mean"] for m in ("exact_match", "exact_set")] == [1.0, 0.0]
    assert [means["all"][m]["mean"] for m in ("exact_match", "exact_set")] == [0.0, 1.0]
    assert result["references"] == (
        "alternatives, any one of which is right, for exact_match; "
        "a set, all of which is right together, for exact_set"
    )
    assert result["warnings"] == [
        "all: 60 of 60 answers name several of the row's references, any one of which is right; "
        "if all of them are wanted, use --references-are set"
    ]


def test_lists_of_answers_are_alternatives_unless_they_look_like_labels(tmp_path: Path) -> None:
    rows = [{"gold": [f"town {i}", f"the town of {i}"], "p": f"town {i}"} for i in range(10)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    result = score_file(path, "gold", {"p": "p"}, resamples=200)
    assert result["metrics"]["p"]["exact_match"]["mean"] == 1.0
    assert "alternatives" in result["references"]
    as_set = score_file(path, "gold", {"p": "p"}, references_are="set", resamples=200)
    assert as_set["metrics"]["p"]["jaccard"]["mean"] == 0.5
    labels = write_jsonl(tmp_path / "b.jsonl", set_rows())
    said = score_file(labels, "gold", HALF_AND_ALL, references_are="alternatives", resamples=200)
    assert said["metrics"]["half"]["exact_match"]["mean"] == 1.0
    assert said["warnings"] == []


@pytest.mark.parametrize(
    "metric, references_are, message",
    [
        ("exact_match", "set", "exact_match reads the references of a row as alternatives"),
        ("jaccard", "alternatives", "jaccard reads the references of a row as set"),
    ],
)
def test_a_metric_that_cannot_read_the_references_so_is_refused(
    tmp_path: Path, metric: str, references_are: Any, message: str
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", set_rows())
    with pytest.raises(RecipeError, match=message):
        score_file(path, "gold", HALF_AND_ALL, [metric], references_are=references_are)


def test_empty_sets_are_right_answers_and_missing_ones_are_refused(tmp_path: Path) -> None:
    rows = [{"gold": [], "p": "none"}, {"gold": ["a"], "p": ["a"]}, {"gold": ["a"], "p": []}]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    result = score_file(path, "gold", {"p": "p"}, ["exact_set"])
    assert result["metrics"]["p"]["exact_set"]["mean"] == pytest.approx(2 / 3)
    path = write_jsonl(tmp_path / "b.jsonl", [*rows, {"gold": None, "p": "a"}])
    with pytest.raises(DataError, match=r"b.jsonl:4: no reference in 'gold'\nhint: write \[\]"):
        score_file(path, "gold", {"p": "p"}, ["exact_set"])
    path = write_jsonl(tmp_path / "c.jsonl", [{"gold": ["a", None], "p": "a"}])
    with pytest.raises(DataError, match=r"c.jsonl:1: the column 'gold' has a list with a missing"):
        score_file(path, "gold", {"p": "p"}, ["exact_set"])
    with pytest.raises(DataError, match=r"c.jsonl:1: the column 'gold' has a list with a missing"):
        score_file(path, "gold", {"p": "p"}, ["exact_match"])


@pytest.mark.parametrize("write", [str, json.dumps, " ".join, lambda tags: tags])
def test_tags_are_scored_as_entities_in_each_form(tmp_path: Path, write: Any) -> None:
    tags = [["B-PER", "O"], ["O", "B-LOC", "I-LOC"]]
    found = [["B-PER", "O"], ["O", "B-LOC", "O"]]
    rows = [
        {"gold": write(gold), "p": write(answer)} for gold, answer in zip(tags, found, strict=True)
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    result = score_file(path, "gold", {"p": "p"}, ["entity_f1", "entity_recall"], resamples=200)
    assert result["metrics"]["p"]["entity_f1"]["mean"] == 0.5
    assert result["metrics"]["p"]["entity_recall"]["mean"] == 0.5
    assert result["references"] == ""


def test_json_metrics_read_lists_as_json(tmp_path: Path) -> None:
    rows = [{"gold": ["x", "y"], "p": '["y", "x"]'}, {"gold": ["z"], "p": "z"}]
    result = score_file(write_jsonl(tmp_path / "a.jsonl", rows), "gold", {"p": "p"}, ["json_f1"])
    assert result["metrics"]["p"]["json_f1"]["mean"] == 0.5


@pytest.mark.parametrize(
    ("references", "metrics"),
    [
        (["yes", "no"] * 5, ["accuracy", "macro_f1", "mcc"]),
        ([f"{i}.5" for i in range(10)], ["number", "mae", "spearman"]),
        ([f'{{"a": {i}}}' for i in range(10)], ["json_f1", "exact_match", "valid_json"]),
        ([f"the town of {i}" for i in range(10)], ["exact_match", "squad_em", "token_f1"]),
        (
            [f"a long sentence with many words in it, number {i}" for i in range(10)],
            ["rougeL", "rouge1", "rouge2", "chrf"],
        ),
        (["yes"] + [f"{i}" for i in range(9)], ["exact_match", "squad_em", "token_f1"]),
    ],
)
def test_metrics_are_chosen_by_what_the_references_look_like(
    tmp_path: Path, references: list[str], metrics: list[str]
) -> None:
    path = write_csv(tmp_path / "out.csv", [{"gold": text, "p": text} for text in references])
    assert (
        list(score_file(path, "gold", {"p": "p"}, resamples=200)["metrics"]["p"])[: len(metrics)]
        == metrics
    )


def test_metrics_of_several_parsers_stand_in_one_result(tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [{"gold": rng.randint(1, 5), "p": f"{rng.randint(1, 5)} stars"} for _ in range(50)]
    path = write_jsonl(tmp_path / "out.jsonl", rows)
    result = score_file(
        path, "gold", {"p": "p"}, ["accuracy", "spearman", "exact_match"], resamples=200
    )
    found = result["metrics"]["p"]
    stars = [int(row["p"][0]) for row in rows]
    assert found["spearman"]["mean"] == pytest.approx(
        scipy.stats.spearmanr(stars, [row["gold"] for row in rows])[0]
    )
    assert found["accuracy"]["mean"] == pytest.approx(
        sum(s == row["gold"] for s, row in zip(stars, rows, strict=True)) / 50
    )
    assert found["exact_match"]["mean"] == 0.0


def test_whole_numbers_read_as_floats_are_the_same_labels(tmp_path: Path) -> None:
    table = pa.table(
        {"gold": pa.array([1, 2, 1, 2]), "p": pa.array([1.0, 2.0, float("nan"), None])}
    )
    pq.write_table(table, tmp_path / "out.parquet")
    result = score_file(tmp_path / "out.parquet", "gold", {"p": "p"}, ["accuracy"])
    assert result["metrics"]["p"]["accuracy"]["mean"] == 0.5
    assert result["warnings"] == [
        "p: 2 of 4 rows have no value in 'p'; they count as empty answers",
        "p: 50 % of the answers could not be read: the format, not the knowledge, decides this "
        "comparison",
    ]


def test_repeated_inputs_without_clusters_are_warned_of(tmp_path: Path) -> None:
    rows = [{"question": f"q{i // 2}", "gold": "ab"[i % 2], "p": "a"} for i in range(20)]
    path = write_csv(tmp_path / "out.csv", rows)
    assert score_file(path, "gold", {"p": "p"}, ["accuracy"])["warnings"] == [
        "'question' repeats: 10 different values in 20 rows, "
        "which are then not independent and the intervals too "
        "narrow; name what belongs together with --cluster-by"
    ]
    assert (
        score_file(path, "gold", {"p": "p"}, ["accuracy"], cluster_by="question")["warnings"] == []
    )


def test_repeated_long_references_are_warned_of_and_labels_are_not(tmp_path: Path) -> None:
    rows = [{"gold": f"a summary of some length, {i // 2}", "p": "x"} for i in range(6)]
    warnings = score_file(write_csv(tmp_path / "a.csv", rows), "gold", {"p": "p"}, ["token_f1"])[
        "warnings"
    ]
    assert len(warnings) == 1
    assert warnings[0].startswith("'gold' repeats: 3 different values in 6 rows")
    rows = [{"gold": "ab"[i % 2], "p": "a"} for i in range(6)]
    assert (
        score_file(write_csv(tmp_path / "b.csv", rows), "gold", {"p": "p"}, ["accuracy"])[
            "warnings"
        ]
        == []
    )


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "out.csv", [{"gold": "a", "p": "a", "g": "1"}, {"gold": "", "p": "b", "g": ""}]
    )
    with pytest.raises(DataError) as caught:
        score_file(path, "golt", {"p": "p"})
    assert str(caught.value) == f"{path}: no column 'golt'\nhint: did you mean 'gold'?"
    with pytest.raises(DataError, match=r"out.csv:3: no reference in 'gold'"):
        score_file(path, "gold", {"p": "p"})
    with pytest.raises(DataError, match=r"out.csv:3: no value in the cluster column 'g'"):
        score_file(path, "p", {"p": "p"}, cluster_by="g")
    with pytest.raises(RecipeError, match="did you mean 'rougeL'"):
        score_file(path, "p", {"p": "p"}, ["rougel"])
    with pytest.raises(DataError, match="the reference 'a' is not a number"):
        score_file(path, "p", {"p": "p"}, ["mae"])


def test_the_screen_shows_every_metric_with_interval_and_n_and_the_verdict(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "out.csv", labelled_rows(200))
    result = score_file(path, "gold", SYSTEMS, ["accuracy"], resamples=500)
    lines = render(result).splitlines()
    assert lines[0] == f"{path}: 200 rows, 200 clusters. Metrics: the metrics that were asked for."
    assert lines[2].split() == ["base", "tuned"]
    base = result["metrics"]["base"]["accuracy"]
    assert lines[3].startswith(
        f"accuracy           {base['mean']:.3f} [{base['ci'][0]:.3f}, {base['ci'][1]:.3f}] n=200"
    )
    assert lines[-1].startswith("tuned is better than base: accuracy ")
    assert "Holm" not in lines[-1]


def test_several_metrics_are_judged_by_the_adjusted_p_and_the_sentence_says_so(
    tmp_path: Path,
) -> None:
    path = write_csv(tmp_path / "out.csv", labelled_rows(200))
    comparisons = score_file(path, "gold", SYSTEMS, ["accuracy", "macro_f1"], resamples=500)[
        "comparisons"
    ]
    assert all(" after Holm; " in comparison["verdict"]["sentence"] for comparison in comparisons)


def test_one_system_alone_has_no_comparison(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "out.csv", [{"gold": "a", "p": "a"}])
    result = score_file(path, "gold", {"p": "p"})
    assert result["comparisons"] == []
    assert "exact_match" in render(result)


CHINESE = [
    {"gold": f"{who}今天去了{where}。", "out_base": "回来。", "out_tuned": f"{who}去了{where}。"}
    for who in "甲乙丙丁"
    for where in ("学校", "北京", "商店")
]  # fmt: skip


def test_a_metric_that_does_not_fit_the_references_is_refused_with_one_that_does(
    tmp_path: Path,
) -> None:
    path = write_jsonl(tmp_path / "zh.jsonl", CHINESE)
    with pytest.raises(DataError, match=r"rougeL takes(.|\n)*zh.jsonl:1(.|\n)*--metric chrf"):
        score_file(path, "gold", SYSTEMS, ["rougeL"])
    with pytest.raises(DataError, match="--tokenize zh"):
        score_file(path, "gold", SYSTEMS, ["bleu"])
    options = metric_options({"bleu": {"tokenize": "zh"}})
    found = score_file(
        path, "gold", SYSTEMS, ["bleu", "chrf"], metric_options=options, resamples=100
    )
    assert found["metrics"]["tuned"]["bleu"]["mean"] > 20
    assert "tok:zh" in json.dumps(found["details"]["tuned"])


def test_metrics_that_nobody_asked_for_are_left_out_where_they_do_not_fit(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "zh.jsonl", CHINESE)
    found = score_file(path, "gold", SYSTEMS, resamples=100)
    assert list(found["metrics"]["tuned"])[:3] == ["exact_match", "squad_em", "chrf"]
    assert found["warnings"][0].startswith("left out: token_f1 takes a sentence for a word")


def test_a_table_with_pandas_index_is_read(tmp_path: Path) -> None:
    path = tmp_path / "index.csv"
    path.write_text(",gold,out\n0,yes,yes\n1,no,yes\n", encoding="utf-8")
    found = score_file(path, "gold", {"a": "out"}, ["accuracy"], resamples=100)
    assert found["metrics"]["a"]["accuracy"]["mean"] == 0.5
    path.write_text("gold,,out\nyes,0,yes\n", encoding="utf-8")
    with pytest.raises(DataError, match="a column without a name"):
        score_file(path, "gold", {"a": "out"}, ["accuracy"])


COURSE = {
    "original": {"rouge1": 0.2334, "rouge2": 0.0760, "rougeL": 0.2015, "rougeLsum": 0.2015},
    "instruct": {"rouge1": 0.4216, "rouge2": 0.1804, "rougeL": 0.3384, "rougeLsum": 0.3384},
    "peft": {"rouge1": 0.4081, "rouge2": 0.1633, "rougeL": 0.3251, "rougeLsum": 0.3249},
}
"""Of FLAN-T5 base, fully tuned and with LoRA, as a course's notebook prints them."""


def test_the_predictions_of_a_course_score_what_the_course_reports() -> None:
    """Its figures are medians of a bootstrap of 1,500 rows, so they differ in the fourth digit."""
    path = shared("data", "summary_predictions", "dialogue-summary-training-results.csv")
    systems = {name: f"{name}_model_summaries" for name in COURSE}
    stemmer = metric_options({"rouge": {"stemmer": True}})
    found = score_file(
        path,
        "human_baseline_summaries",
        systems,
        ["rouge"],
        metric_options=stemmer,
        resamples=100,
    )
    for name, figures in COURSE.items():
        means = {metric: found["metrics"][name][metric]["mean"] for metric in figures}
        assert means == pytest.approx(figures, abs=4e-4), name


@pytest.mark.parametrize(
    ("flags", "rouge1"), [([], 0.0), (["--stemmer"], 1.0)], ids=["words", "stems"]
)
def test_the_command_takes_a_stemmer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    rouge1: float,
) -> None:
    rows = [{"gold": "cats sleeping", "a": "cat sleep"}, {"gold": "dogs ran", "a": "dog ran"}]
    file = write_csv(tmp_path / "out.csv", rows[:1] * 2 + rows[1:])
    arguments = ["--reference", "gold", "--prediction", "a=a", "--metric", "rouge1", "--json"]
    monkeypatch.setattr(sys, "argv", ["tunesmith", "score", str(file), *arguments, *flags])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    found = json.loads(capsys.readouterr().out)["metrics"]["a"]["rouge1"]["mean"]
    assert found == pytest.approx((2 * rouge1 + (1.0 if flags else 0.5)) / 3)


@pytest.mark.parametrize(
    "predictions, message",
    [
        (
            ["out_base"],
            "--prediction 'out_base' is not name=column\n"
            "hint: for example --prediction tuned=answer",
        ),
        (["=out_base"], "--prediction '=out_base' is not name=column"),
        (
            ["a=out_base", "a=out_tuned"],
            "--prediction a is given twice, for 'out_base' and 'out_tuned'",
        ),
        (["a=out_bas"], "no column 'out_bas'\nhint: did you mean 'out_base'?"),
    ],
)
def test_a_bad_prediction_is_named_with_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    predictions: list[str],
    message: str,
) -> None:
    file = write_csv(tmp_path / "out.csv", labelled_rows())
    given = [part for text in predictions for part in ("--prediction", text)]
    monkeypatch.setattr(
        sys, "argv", ["tunesmith", "score", str(file), "--reference", "gold", *given]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


def test_the_commands_json_has_the_promised_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv(tmp_path / "out.csv", labelled_rows())
    columns = [
        "--prediction",
        "base=out_base",
        "--prediction",
        "tuned=out_tuned",
        "--metric",
        "accuracy",
        "--json",
    ]
    monkeypatch.setattr(
        sys, "argv", ["tunesmith", "score", str(file), "--reference", "gold", *columns]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["metrics"]["tuned"]["accuracy"]) == {"mean", "n", "se", "ci", "note"}
    promised = "a b metric difference se se_clustered ci p wins ties losses n clusters"
    assert set(promised.split()) <= set(found["comparisons"][0])


def test_the_command_takes_several_references_and_says_what_lists_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [row | {"b": "x"} for row in set_rows()])
    command = ["tunesmith", "score", str(path), "--prediction", "half=half"]

    def outcome(*more: str) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", [*command, *more])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return stopped.value.code, captured.out, captured.err

    given = ("--reference", "gold", "--references-are")
    code, out, _ = outcome(*given, "set")
    assert code == 0
    assert "References: a set, all of which is right together" in out
    code, out, _ = outcome("--reference", "b", "--reference", "gold", "--metric", "exact_match")
    assert (code, "exact_match        1.000" in out) == (0, True)
    code, out, err = outcome(*given, "sets")
    assert (code, out) == (2, "")
    assert "--references-are sets: unknown\nhint: alternatives or set" in err


def test_texts_that_look_like_sets_are_said_to(tmp_path: Path) -> None:
    labels = ["sport", "politics", "art", "trade"]
    rng = random.Random(0)
    rows = [
        {"gold": ";".join(rng.sample(labels, rng.randint(1, 4))), "p": "art"} for _ in range(60)
    ]
    path = write_csv(tmp_path / "a.csv", rows)
    warnings = score_file(path, "gold", {"p": "p"}, resamples=200)["warnings"]
    assert [text for text in warnings if "look like several labels" in text]
    assert not score_file(path, "gold", {"p": "p"}, references_are="set", resamples=200)["warnings"]
    rows = [{"gold": f"the {i}, of which {i}", "p": "x"} for i in range(20)]
    path = write_csv(tmp_path / "b.csv", rows)
    assert not score_file(path, "gold", {"p": "p"}, resamples=200)["warnings"]


def test_answers_of_a_file_are_read_by_the_reader_of_a_run(tmp_path: Path) -> None:
    texts = {"ham": "The label is ham.", "spam": '{"label": "spam"}'}
    rows = [{"gold": gold, "out": texts[gold]} for gold in ("ham", "spam") * 4]
    rows.append({"gold": "spam", "out": "ham or spam?"})
    result = score_file(write_csv(tmp_path / "out.csv", rows), "gold", {"a": "out"})
    assert result["metrics"]["a"]["accuracy"]["mean"] == pytest.approx(8 / 9)
    assert any("a: 11 % of the answers could not be read" in text for text in result["warnings"])


def test_numbers_written_in_many_ways_are_numbers(tmp_path: Path) -> None:
    written = ["9 500,00", "1.234,56", "1/2", "50 %", "$18", "-3"]
    rows = [{"gold": text, "out": text} for text in written]
    result = score_file(write_csv(tmp_path / "out.csv", rows), "gold", {"a": "out"})
    assert "numbers" in result["rule"]
    assert result["metrics"]["a"]["number"]["mean"] == 1
