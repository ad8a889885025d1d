"""The report's tables as text: the page, report.md and the terminal show the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypedDict

from tunesmith.evaluate.system_table import TUNED
from tunesmith.records import Estimate, Evaluation
from tunesmith.report.content import JudgedMetric, LedgerCounts, Report
from tunesmith.report.format import (
    estimate,
    fact,
    in_sentence,
    interval,
    is_auxiliary,
    lower_is_better,
    metric_name,
    number,
    p_value,
    percent,
    signed,
    system_name,
)

MAX_CLASSES = 30
MAX_MATRIX = 12
NO_CLASS = "(none)"
SplitKey: TypeAlias = Literal["rows", "examples", "tokens", "trained_tokens"]
RemarkKey: TypeAlias = Literal["conflicting_rows", "near_duplicate_clusters"]


class ClassScores(TypedDict):
    """One class of an evaluation's `details["per_class"]`; `n` is its number of true rows."""

    label: str
    precision: float
    recall: float
    f1: float
    n: int


@dataclass(frozen=True, slots=True)
class TableRow:
    """`marked` is the row the reader should find first; `depth` indents its label."""

    label: str
    cells: tuple[str, ...]
    marked: bool = False
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """`columns[0]` heads the labels; `text_columns` are the others that hold words.

    `note` says what holds for the whole table, such as its n. A `title` is needed only where the
    section's title is not enough. `shares[i][j]`, from 0 to 1, shades the cell j of row i. `link`:
    each row is a true class and an answer, and leads to the rows of both.
    """

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    note: str = ""
    text_columns: tuple[int, ...] = ()
    title: str = ""
    shares: tuple[tuple[float, ...], ...] = ()
    link: bool = False


def comparison_table(report: Report) -> Table:
    """Systems by the task's metrics, the primary one first."""
    return _systems_table(report, report.evaluations, auxiliary=False)


def auxiliary_table(report: Report) -> Table:
    """Systems by the form of their answers: valid, stopped, empty ...

    The last column is the primary metric over the answers in the right format, which separates
    ability from format.
    """
    table = _systems_table(report, report.evaluations, auxiliary=True)
    table = replace(table, title="How they answered")
    given = {
        system_name(e.system): (e.details.get("given_valid") or {}).get(report.primary_metric)
        for e in report.evaluations
    }
    if not table.rows or not any(given.values()):
        return table
    rows = tuple(replace(row, cells=(*row.cells, _with_n(given[row.label]))) for row in table.rows)
    return replace(
        table,
        columns=(*table.columns, f"{metric_name(report.primary_metric)} of valid answers"),
        rows=rows,
    )


def wording_tables(report: Report) -> list[Table]:
    """The comparison again for each group of wordings."""
    return [
        replace(_systems_table(report, found, auxiliary=False), title=name)
        for name, found in report.wordings.items()
    ]


def _systems_table(report: Report, evaluations: Sequence[Evaluation], auxiliary: bool) -> Table:
    metrics = [
        name
        for name in _metrics(evaluations, report.primary_metric)
        if is_auxiliary(name) == auxiliary
    ]
    sizes = {e.estimates[m].n for e in evaluations for m in metrics if m in e.estimates}
    show = _with_n if len(sizes) != 1 else _without_n
    rows = tuple(
        TableRow(
            system_name(evaluation.system),
            tuple(show(evaluation.estimates.get(metric)) for metric in metrics),
            marked=evaluation.system == TUNED,
        )
        for evaluation in evaluations
        if any(metric in evaluation.estimates for metric in metrics)
    )
    size = f"n = {sizes.pop():,} test examples. " if len(sizes) == 1 else ""
    lower = [in_sentence(metric_name(metric)) for metric in metrics if lower_is_better(metric)]
    note = f"{size}Mean with {percent(report.confidence)} interval."
    note += f" Lower is better: {', '.join(lower)}." if lower else ""
    signatures = {
        k: v
        for e in evaluations
        for k, v in (e.details.get("signatures") or {}).items()
        if k in metrics
    }
    note += "".join(f" {metric_name(name)}: {signature}." for name, signature in signatures.items())
    return Table(("System", *map(metric_name, metrics)), rows if metrics else (), note)


def _without_n(found: Estimate | None) -> str:
    return estimate(found) if found else ""


def _with_n(found: Estimate | None) -> str:
    return f"{estimate(found)} (n = {found.n:,})" if found else ""


def _metrics(evaluations: Sequence[Evaluation], primary: str) -> list[str]:
    names = dict.fromkeys(name for evaluation in evaluations for name in evaluation.estimates)
    return [primary] * (primary in names) + [name for name in names if name != primary]


def difference_table(report: Report) -> Table:
    """Every paired comparison, the verdict's first."""
    compared = report.comparisons
    one_system, one_metric = (
        len({c.b for c in compared}) == 1,
        len({c.metric for c in compared}) == 1,
    )
    head = f"{system_name(compared[0].b)} against" if one_system else "Comparison"
    rows = tuple(
        TableRow(
            system_name(c.a)
            if one_system
            else f"{system_name(c.b)} against {in_sentence(system_name(c.a))}",
            (
                *(() if one_metric else (metric_name(c.metric),)),
                f"{signed(c.difference)} {interval(c.ci, plus=True, note=c.note)}",
                p_value(c.p),
                f"{c.wins:,} / {c.ties:,} / {c.losses:,}",
                number(c.smallest_detectable),
            ),
            marked=i == 0,
        )
        for i, c in enumerate(compared)
    )
    measured = ("Difference", "p", "Won/tied/lost", "Detectable")
    columns = (head, *measured) if one_metric else (head, "Metric", *measured)
    return Table(columns, rows, _difference_note(report), () if one_metric else (1,))


def judged_table(report: Report) -> Table:
    """Every metric that the recipe names, with p adjusted for their number (Holm's method)."""
    rows = tuple(
        TableRow(
            metric_name(c.metric),
            (
                f"{signed(c.difference)} {interval(c.ci, plus=True, note=c.note)}",
                p_value(c.p),
                p_value(found.p_holm),
                f"{c.wins:,} / {c.ties:,} / {c.losses:,}",
                number(c.smallest_detectable),
            ),
            marked=i == 0,
        )
        for i, found in enumerate(report.judged)
        for c in [found.comparison]
    )
    against = in_sentence(system_name(report.judged[0].comparison.a)) if rows else ""
    note = (
        f"Against {against}. Holm's p is adjusted for {len(rows)} metrics; "
        "the verdict rests on the first one's."
    )
    lower = [
        in_sentence(row.label)
        for row, found in zip(rows, report.judged, strict=True)
        if _is_lower(found)
    ]
    note += f" Lower is better: {', '.join(lower)}." if lower else ""
    columns = ("Metric", "Difference", "p", "Holm's p", "Won/tied/lost", "Detectable")
    return Table(columns, rows, note, title="All metrics, judged together")


def _is_lower(found: JudgedMetric) -> bool:
    return lower_is_better(found.comparison.metric)


def _difference_note(report: Report) -> str:
    compared = report.comparisons
    sizes = {(c.n, c.clusters) for c in compared}
    metrics = {c.metric for c in compared}
    tests = ", ".join(dict.fromkeys(c.test for c in compared if c.test))
    sentences = [
        f"{metric_name(next(iter(metrics)))}." if len(metrics) == 1 else "",
        _size_note(sizes),
        f"p: {tests}." if tests else "",
        "Detectable: the smallest difference that this many rows show at 80 % power; "
        "a dash where they cannot show any.",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _size_note(sizes: set[tuple[int, int]]) -> str:
    if len(sizes) != 1:
        return "Paired by example."
    n, clusters = next(iter(sizes))
    grouped = f" in {clusters:,} clusters" if 0 < clusters < n else ""
    return f"Paired by example, n = {n:,}{grouped}."


def class_table(details: Mapping[str, Any]) -> Table | None:
    """Precision, recall and F1 by class, at most the worst MAX_CLASSES; None without classes."""
    classes: Sequence[ClassScores] = details.get("per_class") or ()
    note = ""
    if len(classes) > MAX_CLASSES:
        note = (
            f"The {MAX_CLASSES} classes with the lowest F1 of {len(classes)}; "
            "all are in report.json."
        )
        classes = sorted(classes, key=lambda found: (found["f1"], found["label"]))[:MAX_CLASSES]
    rows = tuple(
        TableRow(
            found["label"],
            (
                number(found["precision"]),
                number(found["recall"]),
                number(found["f1"]),
                f"{found['n']:,}",
            ),
        )
        for found in classes
    )
    columns = ("Class", "Precision", "Recall", "F1", "Rows")
    title = "Precision, recall and F1 by class"
    return Table(columns, rows, note, title=title) if rows else None


@dataclass(frozen=True, slots=True)
class Matrix:
    """Counts with the true class in rows and the answer in columns."""

    labels: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def shares(self) -> tuple[tuple[float, ...], ...]:
        """Each count over the sum of its row, for shading."""
        return tuple(tuple(count / max(1, sum(row)) for count in row) for row in self.counts)


def confusion_matrix(details: Mapping[str, Any]) -> Matrix | None:
    """The confusion matrix; None without classes.

    The last column, answers that name no class, is there only if there are such answers.
    """
    found = details.get("confusion")
    if not found:
        return None
    labels, counts = tuple(found["labels"]), tuple(map(tuple, found["counts"]))
    unread = any(row[len(labels)] for row in counts)
    columns = (*labels, NO_CLASS) if unread else labels
    return Matrix(labels, columns, tuple(row[: len(columns)] for row in counts))


def matrix_table(matrix: Matrix) -> Table:
    """The matrix as a shaded table; the most frequent mistakes if it is too wide to read."""
    if len(matrix.labels) > MAX_MATRIX:
        return mistakes_table(matrix)
    rows = tuple(
        TableRow(label, tuple(map(str, counts)))
        for label, counts in zip(matrix.labels, matrix.counts, strict=True)
    )
    note = "Rows are the true class, columns the answer."
    columns = ("True class", *matrix.columns)
    return Table(columns, rows, note, title="Confusion matrix", shares=matrix.shares)


def mistakes_table(matrix: Matrix, limit: int = 15) -> Table:
    """The `limit` most frequent mistakes."""
    mistakes = [
        (count, true, answer)
        for true, row in zip(matrix.labels, matrix.counts, strict=True)
        for answer, count in zip(matrix.columns, row, strict=True)
        if count and true != answer
    ]
    mistakes.sort(key=lambda mistake: (-mistake[0], mistake[1], mistake[2]))
    rows = tuple(TableRow(true, (answer, f"{count:,}")) for count, true, answer in mistakes[:limit])
    columns = ("True class", "Answered", "Rows")
    return Table(columns, rows, text_columns=(1,), title="Most frequent mistakes", link=True)


SPLIT_ROWS: tuple[tuple[SplitKey, str], ...] = (
    ("rows", "Rows kept"),
    ("examples", "Examples"),
    ("tokens", "Tokens"),
    ("trained_tokens", "Trained tokens"),
)
REMARKS: tuple[tuple[RemarkKey, str], ...] = (
    ("conflicting_rows", "Rows kept whose input also occurs with another target"),
    ("near_duplicate_clusters", "Near-duplicate clusters, each within one split"),
)


def ledger_table(ledger: LedgerCounts) -> Table:
    """Where every raw row went, from ledger.json: fates first, then what the splits hold."""
    if "rows" not in ledger:
        return Table(("",), ())
    splits = ledger.get("splits", {})

    def total(label: str, count: int, depth: int = 0) -> TableRow:
        return TableRow(label, (*[""] * len(splits), f"{count:,}"), depth=depth)

    def each(key: SplitKey, label: str) -> TableRow:
        counts = [split.get(key, 0) for split in splits.values()]
        return TableRow(label, (*(f"{count:,}" for count in counts), f"{sum(counts):,}"))

    fates = {
        key: count for key, count in ledger["rows"].items() if key not in ("raw", "kept") and count
    }
    rows = [total("Raw rows", ledger["rows"]["raw"])]
    for fate, count in fates.items():
        rows.append(total(fate.replace("_", " "), count, depth=1))
        if fate == "rejected":
            rows += [
                total(reason.replace("_", " "), n, depth=2)
                for reason, n in ledger.get("rejected", {}).items()
            ]
    rows += [each(key, label) for key, label in SPLIT_ROWS]
    rows += [total(label, count) for key, label in REMARKS if (count := ledger.get(key, 0))]
    for name, cut in ledger.get("shortened", {}).items():
        rows.append(total(f"Examples with a shorter {name}", cut["examples"]))
    none_lost = "" if fates else "No row was left out."
    return Table(("", *map(str.capitalize, splits), "All"), tuple(rows), none_lost)


def facts_table(heading: str, facts: Mapping[str, object]) -> Table:
    """Plain values, one per row; a mapping within a mapping is indented below its name."""
    return Table((heading, "Value"), tuple(_facts(facts, 0)))


def _facts(facts: Mapping[str, object], depth: int) -> list[TableRow]:
    rows: list[TableRow] = []
    for key, value in facts.items():
        inner = _facts(value, depth + 1) if isinstance(value, Mapping) else None
        label, text = (
            (str(key).replace("_", " "), "" if inner else "none")
            if inner is not None
            else fact(key, value)
        )
        rows += [
            TableRow(label[:1].upper() + label[1:] if depth == 0 else label, (text,), depth=depth),
            *(inner or ()),
        ]
    return rows
