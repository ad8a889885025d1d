"""Scores of answers that any tool wrote: a file with a column of references and one per system."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast, get_args

from tunesmith.data.sources.answers import is_missing, plain_text
from tunesmith.data.sources.rows import read_rows
from tunesmith.errors import DataError, RecipeError, did_you_mean
from tunesmith.evaluate.compare import Resampling, compare, evaluate, plain, to_json
from tunesmith.evaluate.fitness import by_family, check_fitness, find_misfit, sampled
from tunesmith.evaluate.gold import (
    MAX_LABEL_CHARACTERS,
    MAX_LABELS,
    TEXT_PARSERS,
    Gold,
    Meaning,
    has_lists,
    look_like_sets,
    looks_separated,
    read_gold,
    rows_with_several,
    say_references,
)
from tunesmith.evaluate.metrics import GENERAL, find_metric, find_metrics
from tunesmith.evaluate.metrics.table import GROUPS
from tunesmith.evaluate.metrics.translation import check_tokenizer
from tunesmith.evaluate.parse import Json, is_bare_number, is_json
from tunesmith.evaluate.statistics import holm
from tunesmith.evaluate.unreadable import MANY as MANY_UNREADABLE
from tunesmith.evaluate.unreadable import unreadable_notes, unreadable_share
from tunesmith.evaluate.verdict import verdict
from tunesmith.recipe import DEFAULT_METRIC_OPTIONS, MetricOptions
from tunesmith.records import Estimate, Evaluation, Example, Prediction, Row, Unreadable

INPUT_COLUMNS = {
    "input",
    "prompt",
    "question",
    "text",
    "source",
    "context",
    "document",
    "article",
    "instruction",
}
LONG_TEXT = 20  # characters on average: a column of texts, not of names or ids
SHORT_ANSWER_WORDS = 5
SET_METRICS = ["multilabel_micro_f1", "multilabel_macro_f1", "exact_set", "jaccard"]


class EstimateJson(TypedDict):
    """An Estimate; null where a number is not finite. `note` says why there is no interval."""

    mean: float | None
    n: int
    se: float | None
    ci: list[float | None]
    note: str


class ScoreResult(TypedDict):
    """What `tunesmith score --json` prints.

    `metrics[system][metric]` are estimates. `comparisons` are all pairs of systems, the fields of
    records.Comparison with `p_holm`, adjusted over all of them, and a `verdict`. `details[system]`
    are classes, signatures and the metrics over valid answers alone. `rule` says why these metrics,
    `references` what several right answers in a row are, "" where no row has any.
    """

    file: str
    n: int
    clusters: int
    metrics: dict[str, dict[str, EstimateJson]]
    comparisons: list[dict[str, Any]]
    details: dict[str, dict[str, Json]]
    rule: str
    references: str
    warnings: list[str]


def score_file(
    path: str | Path,
    reference: str | Sequence[str],
    predictions: Mapping[str, str],
    metrics: Sequence[str] | None = None,
    cluster_by: str | None = None,
    *,
    references_are: Meaning | None = None,
    metric_options: MetricOptions = DEFAULT_METRIC_OPTIONS,
    encoding: str = "utf-8",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> ScoreResult:
    """Metrics of each system with intervals, and all pairs compared.

    `reference` names a column, or several of which each holds a right answer, and the values of
    `predictions` (system name -> column) are columns of the file. A list in a cell, also as JSON or
    Python text, is several references: alternatives, of which any one is right, or a set, of which
    all are right together. Metrics of sets read sets, the others alternatives; without `metrics`,
    `references_are` decides, else what the references look like. Rows with the same value in
    `cluster_by` belong together.

    Raises:
        DataError: a column, or the reference of a row, is missing; a metric does not fit the
            references.
        RecipeError: a metric is unknown, or compares with the other of alternatives and sets.
    """
    check_tokenizer(metric_options)
    rows = list(read_rows(path, encoding))
    columns = [reference] if isinstance(reference, str) else list(dict.fromkeys(reference))
    _check_columns(
        rows, path, [*columns, *predictions.values(), *([cluster_by] if cluster_by else [])]
    )
    asked = [name for item in metrics or () for name in GROUPS.get(item, (item,))]
    _check_meaning(asked, references_are)
    as_json = any(metric.parsers[:1] == ("json",) for metric in find_metrics(asked).values())
    chosen, rule = (
        (list(dict.fromkeys(asked)), "the metrics that were asked for")
        if asked
        else _choose_metrics(rows, columns, references_are)
    )
    clusters = [_cluster(row, cluster_by) for row in rows]
    options = Resampling(confidence=confidence, resamples=resamples, seed=seed)
    by_parser = _by_parser(rows, columns, chosen, as_json)
    gold = {parser: read_gold(rows, columns, parser, as_json) for parser in by_parser}
    unfit, fitness = _check_fitness(
        {parser: _examples(rows, gold[parser], clusters, parser) for parser in by_parser},
        by_parser,
        metric_options,
        asked,
    )
    if unfit:
        chosen = [name for name in chosen if name not in unfit]
        chosen += ["chrf"] if "token_f1" in unfit else []
        by_parser = _by_parser(rows, columns, chosen, as_json)
        gold = {parser: read_gold(rows, columns, parser, as_json) for parser in by_parser}
    parts: dict[str, list[Evaluation]] = {name: [] for name in predictions}
    for parser, names in by_parser.items():
        examples = _examples(rows, gold[parser], clusters, parser)
        for name, column in predictions.items():
            answers = _predictions(rows, column)
            parts[name].append(
                evaluate(
                    name,
                    str(path),
                    examples,
                    answers,
                    names,
                    parser,
                    metric_options=metric_options,
                    confidence=confidence,
                )
            )
    return {
        "file": str(path),
        "n": len(rows),
        "clusters": len(set(clusters)),
        "metrics": {name: _estimates(evaluations, chosen) for name, evaluations in parts.items()},
        "comparisons": _compare_all(parts, chosen, options),
        "details": {name: _details(evaluations) for name, evaluations in parts.items()},
        "rule": rule,
        "references": say_references(rows, columns, gold, by_parser),
        "warnings": [
            *fitness,
            *_warnings(rows, columns, predictions, cluster_by, parts),
            *([] if as_json or references_are else _set_warnings(rows, columns, gold, predictions)),
        ],
    }


# ---- the table


def _check_columns(rows: Sequence[Row], path: str | Path, columns: Sequence[str]) -> None:
    if not rows:
        raise DataError(f"{path}: no rows")
    for column in columns:
        if not any(column in row.values for row in rows):
            raise DataError(
                f"{path}: no column {column!r}", hint=did_you_mean(column, rows[0].values)
            )


def _text(value: object) -> str:
    return "" if is_missing(value) else plain_text(value)


def _cluster(row: Row, column: str | None) -> str:
    if column is None:
        return row.id
    cluster = _text(row.values.get(column))
    if not cluster:
        raise DataError(f"{row.source}: no value in the cluster column {column!r}")
    return cluster


def _examples(
    rows: Sequence[Row], references: Gold, clusters: Sequence[str], parser: str
) -> list[Example]:
    labels = (
        tuple(dict.fromkeys(text.strip() for row in references for text in row))
        if parser == "choice"
        else ()
    )
    return [
        Example(f"{i}", row.id, "", "", texts[0], texts, labels, group=cluster, source=row.source)
        for i, (row, texts, cluster) in enumerate(zip(rows, references, clusters, strict=True))
    ]


def _predictions(rows: Sequence[Row], column: str) -> list[Prediction]:
    return [
        Prediction(f"{i}", _text(row.values.get(column)), True, 0) for i, row in enumerate(rows)
    ]


# ---- which metrics, and how answers are read for them


def meaning(text: str | None) -> Meaning | None:
    """What `--references-are` says; RecipeError for another word."""
    if text is None or text in get_args(Meaning):
        return cast("Meaning | None", text)
    raise RecipeError(f"--references-are {text}: unknown", hint="alternatives or set")


def _check_meaning(metrics: Sequence[str], references_are: Meaning | None) -> None:
    """RecipeError for a metric that cannot read references as they are said to be."""
    for name, metric in find_metrics(metrics).items():
        reads = "set" if metric.parsers[:1] == ("labels",) else "alternatives"
        if references_are is not None and references_are != reads:
            raise RecipeError(
                f"{name} reads the references of a row as {reads}, not as {references_are}",
                hint=f"metrics of sets are {', '.join(SET_METRICS)}",
            )


def _choose_metrics(
    rows: Sequence[Row], columns: Sequence[str], references_are: Meaning | None
) -> tuple[list[str], str]:
    """Metrics by what the references are or look like, and the rule that chose them."""
    if references_are == "set":
        return SET_METRICS, "sets: that is what the references are said to be"
    if references_are is None and has_lists(rows, columns) and look_like_sets(rows, columns):
        rule = f"sets: lists of at most {MAX_LABELS} different labels, each in two rows on average"
        return SET_METRICS, rule
    return _choose_text_metrics(read_gold(rows, columns, "text", as_json=False))


def _choose_text_metrics(references: Gold) -> tuple[list[str], str]:
    texts = [text for row in references for text in row]
    if _look_like_labels(references):
        rule = (
            f"labels: at most {MAX_LABELS} different references of one line, "
            "each in two rows on average"
        )
        return ["accuracy", "macro_f1", "mcc"], rule
    if all(is_bare_number(text) for text in texts):
        return ["number", "mae", "spearman"], "numbers: every reference is one"
    if all(text.strip()[:1] in ("{", "[") and is_json(text) for text in texts):
        metrics = ["json_f1", "exact_match", "valid_json"]
        return metrics, "JSON: every reference is an object or a list"
    words = sorted(len(text.split()) for text in texts)
    if words[len(words) // 2] <= SHORT_ANSWER_WORDS:
        rule = f"short answers: half of the references have at most {SHORT_ANSWER_WORDS} words"
        return ["exact_match", "squad_em", "token_f1"], rule
    metrics = ["rougeL", "rouge1", "rouge2", "chrf"]
    return metrics, "texts: none of labels, numbers, JSON, short answers"


def _look_like_labels(references: Gold) -> bool:
    if any(len(row) > 1 for row in references):
        return False
    labels = {row[0].strip() for row in references}
    short = all(len(label) <= MAX_LABEL_CHARACTERS and "\n" not in label for label in labels)
    return short and len(labels) <= min(MAX_LABELS, len(references) // 2)


def _by_parser(
    rows: Sequence[Row], columns: Sequence[str], metrics: Sequence[str], as_json: bool
) -> dict[str, list[str]]:
    """Metrics by the parser that reads answers for them: the first that fits the references."""
    may_be_choice = any("choice" in find_metric(name).parsers for name in metrics)
    references = read_gold(rows, columns, "text", as_json) if may_be_choice else []
    one_line = all("\n" not in text.strip() for row in references for text in row)
    found: dict[str, list[str]] = {}
    for name in metrics:
        # a choice is a label of one line
        fitting = (p for p in find_metric(name).parsers if one_line or p != "choice")
        found.setdefault(next(fitting, "text"), []).append(name)
    return found


def _check_fitness(
    examples: Mapping[str, Sequence[Example]],
    by_parser: Mapping[str, Sequence[str]],
    options: MetricOptions,
    asked: Sequence[str],
) -> tuple[set[str], list[str]]:
    """The metrics to leave out, since nobody asked for them and they do not fit, and notes.

    DataError where one that was asked for does not fit, or none does.
    """
    unfit = {
        misfit.metric: misfit
        for parser, names in by_parser.items()
        for name in names
        if (misfit := find_misfit(name, sampled(examples[parser]), parser, options))
        and not misfit.fits
    }
    if asked or len(unfit) == sum(map(len, by_parser.values())):
        unfit = {}
    notes = [f"left out: {misfit}" for misfit in by_family(unfit.values())]
    for parser, names in by_parser.items():
        kept = [name for name in names if name not in unfit]
        notes += check_fitness(examples[parser], kept, (), parser, options)
    return set(unfit), notes


# ---- results


def _estimates(
    evaluations: Sequence[Evaluation], metrics: Sequence[str]
) -> dict[str, EstimateJson]:
    """The metrics, then the general ones (valid, empty ...) by the parser of the first.

    `stopped` is left out: a file does not say it.
    """
    merged: dict[str, Estimate] = {}
    for evaluation in reversed(evaluations):
        merged |= evaluation.estimates
    return {name: _estimate(merged[name]) for name in [*metrics, *GENERAL] if name != "stopped"}


def _estimate(found: Estimate) -> EstimateJson:
    low, high = map(_finite, found.ci)
    return {
        "mean": _finite(found.mean),
        "n": found.n,
        "se": _finite(found.se),
        "ci": [low, high],
        "note": found.note,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _details(evaluations: Sequence[Evaluation]) -> dict[str, Json]:
    """The details of one system's evaluations, the first one's where several have a key.

    Warnings are shown apart.
    """
    merged: dict[str, Json] = {}
    given_valid: dict[str, Estimate] = {}
    for evaluation in reversed(evaluations):
        merged |= plain(evaluation.details)
        given_valid |= evaluation.details["given_valid"]
    merged["given_valid"] = plain(given_valid)
    return {name: value for name, value in merged.items() if name not in ("warnings", "parser")}


def _compare_all(
    parts: Mapping[str, Sequence[Evaluation]], metrics: Sequence[str], options: Resampling
) -> list[dict[str, Any]]:
    pairs = [
        (a, b, name)
        for (_, first), (_, second) in itertools.combinations(parts.items(), 2)
        for name in metrics
        for a, b in zip(first, second, strict=True)
        if name in a.estimates
    ]
    found = [compare(a, b, name, **options) for a, b, name in pairs]
    adjusted = holm([comparison.p for comparison in found])
    results = []
    for (a, b, name), comparison, p in zip(pairs, found, adjusted, strict=True):
        said = verdict(
            comparison,
            confidence=options["confidence"],
            p=p if len(found) > 1 else None,
            estimates=(a.estimates[name], b.estimates[name]),
        )
        results.append({**to_json(comparison), "p_holm": p, "verdict": dataclasses.asdict(said)})
    return results


def _set_warnings(
    rows: Sequence[Row],
    columns: Sequence[str],
    gold: Mapping[str, Gold],
    predictions: Mapping[str, str],
) -> list[str]:
    """Texts that look like sets, and systems that answer with several of a row's alternatives, as
    if all of them were wanted.
    """
    texts = next((g for parser, g in gold.items() if parser in TEXT_PARSERS), None)
    if texts is None:
        return []
    found = []
    if looks_separated(rows, columns):
        found.append(
            "the references look like several labels in one text, and are compared as one text; "
            "if all of them are wanted, in any order, use --references-are set"
        )
    for name, column in predictions.items():
        several = rows_with_several(texts, [_text(row.values.get(column)) for row in rows])
        if several:
            found.append(
                f"{name}: {several} of {len(rows)} answers name several of the row's references, "
                "any one of which is right; if all of them are wanted, use --references-are set"
            )
    return found


def _warnings(
    rows: Sequence[Row],
    references: Sequence[str],
    predictions: Mapping[str, str],
    cluster_by: str | None,
    parts: Mapping[str, Sequence[Evaluation]],
) -> list[str]:
    found = []
    for name, column in predictions.items():
        missing = sum(is_missing(row.values.get(column)) for row in rows)
        if missing:
            found.append(
                f"{name}: {missing} of {len(rows)} rows have no value in {column!r}; "
                "they count as empty answers"
            )
    if cluster_by is None:
        columns = [column for column in rows[0].values if column not in predictions.values()]
        found += [
            text
            for column in columns
            if (text := _repeat_warning(rows, column, column in references))
        ]
    every = [
        warning
        for evaluations in parts.values()
        for e in evaluations
        for warning in e.details["warnings"]
    ]
    return [*found, *_unreadable(parts), *dict.fromkeys(every)]


def _unreadable(parts: Mapping[str, Sequence[Evaluation]]) -> list[str]:
    """A file holds no likelihoods to compare beside the answers."""
    first = [evaluations[0] for evaluations in parts.values() if evaluations]
    return unreadable_notes(
        [
            Unreadable(e.system, share)
            for e in first
            if (share := unreadable_share(e)) > MANY_UNREADABLE
        ]
    )


def _repeat_warning(rows: Sequence[Row], column: str, is_reference: bool) -> str | None:
    """Rows that share an input or a long reference are not independent of each other."""
    texts = [_text(row.values.get(column)) for row in rows]
    distinct = len(set(texts))
    are_long = sum(map(len, texts)) >= LONG_TEXT * len(texts)
    is_input = column.lower() in INPUT_COLUMNS and not is_reference
    if distinct == len(texts) or not (are_long or is_input):
        return None
    return (
        f"{column!r} repeats: {distinct} different values in {len(texts)} rows, which are then "
        "not independent and the intervals too narrow; name what belongs together with --cluster-by"
    )


# ---- for the screen


def render(result: ScoreResult) -> str:
    """The result as text: a table of metrics with intervals, then one line for each comparison."""
    systems = list(result["metrics"])
    names = list(dict.fromkeys(name for metrics in result["metrics"].values() for name in metrics))
    table = [["", *systems]]
    for name in names:
        table.append([name, *(_cell(result["metrics"][system].get(name)) for system in systems)])
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    verdicts = [comparison["verdict"]["sentence"] for comparison in result["comparisons"]]
    size = f"{result['n']} rows, {result['clusters']} clusters"
    head = f"{result['file']}: {size}. Metrics: {result['rule']}."
    said = [f"References: {result['references']}."] if result["references"] else []
    return "\n".join([head, *said, "", *lines, *([""] if verdicts else []), *verdicts])


def _cell(estimate: EstimateJson | None) -> str:
    if estimate is None:
        return "-"
    low, high = estimate["ci"]
    interval = (
        f"[{low:.3f}, {high:.3f}]"
        if low is not None and high is not None
        else f"no interval: {estimate['note']};"
    )
    return f"{estimate['mean']:.3f} {interval} n={estimate['n']}"
