"""Scores of answers that any tool wrote: a file with a column of references and one per system."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from tunesmith.data.sources.rows import read_rows
from tunesmith.errors import DataError, did_you_mean
from tunesmith.evaluate.compare import Resampling, compare, evaluate, plain, to_json
from tunesmith.evaluate.fitness import by_family, check_fitness, find_misfit, sampled
from tunesmith.evaluate.metrics import GENERAL, find_metric, find_metrics
from tunesmith.evaluate.metrics.table import GROUPS
from tunesmith.evaluate.metrics.translation import check_tokenizer
from tunesmith.evaluate.parse import Json, is_bare_number, is_json, load_json
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
MAX_LABELS, MAX_LABEL_CHARACTERS, SHORT_ANSWER_WORDS = 100, 60, 5


class EstimateJson(TypedDict):
    """An Estimate; null where a number is not finite."""

    mean: float | None
    n: int
    se: float | None
    ci: list[float | None]


class ScoreResult(TypedDict):
    """What `tunesmith score --json` prints.

    `metrics[system][metric]` are estimates. `comparisons` are all pairs of systems, the fields of
    records.Comparison with `p_holm`, adjusted over all of them, and a `verdict`. `details[system]`
    are classes, signatures and the metrics over valid answers alone. `rule` says why these metrics.
    """

    file: str
    n: int
    clusters: int
    metrics: dict[str, dict[str, EstimateJson]]
    comparisons: list[dict[str, Any]]
    details: dict[str, dict[str, Json]]
    rule: str
    warnings: list[str]


def score_file(
    path: str | Path,
    reference: str,
    predictions: Mapping[str, str],
    metrics: Sequence[str] | None = None,
    cluster_by: str | None = None,
    *,
    metric_options: MetricOptions = DEFAULT_METRIC_OPTIONS,
    encoding: str = "utf-8",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> ScoreResult:
    """Metrics of each system with intervals, and all pairs compared.

    `reference` and the values of `predictions` (system name -> column) are columns of the file. A
    list, or JSON text of a list of texts, is several references. Without `metrics` they are chosen
    by what the references look like. Rows with the same value in `cluster_by` belong together.

    Raises:
        DataError: a column, or the reference of a row, is missing; a metric does not fit the
            references.
        RecipeError: a metric is unknown.
    """
    check_tokenizer(metric_options)
    rows = list(read_rows(path, encoding))
    _check_columns(
        rows, path, [reference, *predictions.values(), *([cluster_by] if cluster_by else [])]
    )
    asked = [name for item in metrics or () for name in GROUPS.get(item, (item,))]
    as_json = any(metric.parsers[:1] == ("json",) for metric in find_metrics(asked).values())
    references = _references(rows, reference, as_json)
    chosen, rule = (
        (list(dict.fromkeys(asked)), "the metrics that were asked for")
        if asked
        else _choose_metrics(references)
    )
    clusters = [_cluster(row, cluster_by) for row in rows]
    options = Resampling(confidence=confidence, resamples=resamples, seed=seed)
    by_parser = _by_parser(chosen, references)
    unfit, fitness = _check_fitness(
        {parser: _examples(rows, references, clusters, parser) for parser in by_parser},
        by_parser,
        metric_options,
        asked,
    )
    if unfit:
        chosen = [name for name in chosen if name not in unfit]
        chosen += ["chrf"] if "token_f1" in unfit else []
    parts: dict[str, list[Evaluation]] = {name: [] for name in predictions}
    for parser, names in _by_parser(chosen, references).items():
        examples = _examples(rows, references, clusters, parser)
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
                    **options,
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
        "warnings": [
            *fitness,
            *_warnings(rows, references, reference, predictions, cluster_by, parts),
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
    if _is_missing(value):
        return ""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer():
        # a column of whole numbers with gaps is read as floats: the label 3 as 3.0
        return str(int(value))
    return str(value)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _references(rows: Sequence[Row], column: str, as_json: bool) -> list[tuple[str, ...]]:
    """All right answers of each row.

    Where every row has a list, or JSON text of a list of texts, its items are the references.
    With `as_json` such a list is itself the answer.
    """
    for row in rows:
        if not _text(row.values.get(column)).strip() or row.values[column] == []:
            raise DataError(
                f"{row.source}: no reference in {column!r}", hint="every row needs its right answer"
            )
    values = [row.values[column] for row in rows]
    lists = [_as_list(value) for value in values]
    if as_json or not all(lists):
        return [(_text(value),) for value in values]
    return [tuple(_text(item) for item in items) for items in lists]


def _as_list(value: object) -> Sequence[object]:
    """The items of a list, or of JSON text of a list of texts; empty for anything else."""
    if isinstance(value, list):
        return value
    if not (isinstance(value, str) and value.lstrip().startswith("[") and is_json(value)):
        return []
    read = load_json(value)
    return read if isinstance(read, list) and all(isinstance(item, str) for item in read) else []


def _cluster(row: Row, column: str | None) -> str:
    if column is None:
        return row.id
    cluster = _text(row.values.get(column))
    if not cluster:
        raise DataError(f"{row.source}: no value in the cluster column {column!r}")
    return cluster


def _examples(
    rows: Sequence[Row], references: Sequence[tuple[str, ...]], clusters: Sequence[str], parser: str
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


def _choose_metrics(references: Sequence[tuple[str, ...]]) -> tuple[list[str], str]:
    """Metrics by what the references look like, and the rule that chose them."""
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


def _look_like_labels(references: Sequence[tuple[str, ...]]) -> bool:
    if any(len(row) > 1 for row in references):
        return False
    labels = {row[0].strip() for row in references}
    short = all(len(label) <= MAX_LABEL_CHARACTERS and "\n" not in label for label in labels)
    return short and len(labels) <= min(MAX_LABELS, len(references) // 2)


def _by_parser(
    metrics: Sequence[str], references: Sequence[tuple[str, ...]]
) -> dict[str, list[str]]:
    """Metrics by the parser that reads answers for them: the first that fits the references."""
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


def _warnings(
    rows: Sequence[Row],
    references: Sequence[tuple[str, ...]],
    reference: str,
    predictions: Mapping[str, str],
    cluster_by: str | None,
    parts: Mapping[str, Sequence[Evaluation]],
) -> list[str]:
    found = []
    for name, column in predictions.items():
        missing = sum(_is_missing(row.values.get(column)) for row in rows)
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
            if (text := _repeat_warning(rows, column, column == reference))
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
    said = [comparison["verdict"]["sentence"] for comparison in result["comparisons"]]
    size = f"{result['n']} rows, {result['clusters']} clusters"
    head = f"{result['file']}: {size}. Metrics: {result['rule']}."
    return "\n".join([head, "", *lines, *([""] if said else []), *said])


def _cell(estimate: EstimateJson | None) -> str:
    if estimate is None:
        return "-"
    low, high = ("?" if end is None else f"{end:.3f}" for end in estimate["ci"])
    return f"{estimate['mean']:.3f} [{low}, {high}] n={estimate['n']}"
