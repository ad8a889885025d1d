"""The ledger: where every raw row went.

A raw row has one fate: kept (it gave an example), duplicate, leaked (a training row that is also in
the user's own test file), not drawn (the cap of a mixture), unreadable, or rejected for a reason.
Only the last two count against data.max_rejected. Conflicts, shortened fields and tokens describe
rows that were kept.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from tunesmith.errors import DataError, RunError
from tunesmith.records import SPLITS, Example, Finding, TokenizedExample

EXCLUDED = "excluded"
REMEDIES = {
    "unreadable": "repair these lines, or set data.encoding",
    "too_long": "raise train.max_length, "
    "or mark a field that may be shortened: {{ article | fit }}",
    "control_token": "remove the model's special tokens from these texts",
    "chat_template": "give a chat_template that writes these conversations, or clean them",
    "not_spelled": "the tokenizer cannot spell these answers: clean them, or choose another model",
    EXCLUDED: "fill the empty cells, or leave these rows out of the source",
}
SEVERAL = "several answers are right: the first is trained, and all of them count"
NUM_PLACES = 3


@dataclass
class SplitCounts:
    """`rows`: kept rows; `tokens`: of prompts and answers; `trained_tokens`: those with a label."""

    rows: int = 0
    rejected: int = 0
    examples: int = 0
    tokens: int = 0
    trained_tokens: int = 0


@dataclass
class Shortened:
    """How many examples had a field cut, by how many characters in all and at most."""

    examples: int = 0
    characters: int = 0
    most_characters: int = 0


@dataclass(frozen=True)
class LedgerFacts:
    """What ledger.json holds. `rows` are raw rows by fate, `raw` their sum; `rejected` are rejected
    rows by reason, `dropped_examples_of_kept_rows` examples by reason; `shortened` by field.
    """

    rows: Mapping[str, int]
    rejected: Mapping[str, int]
    dropped_examples_of_kept_rows: Mapping[str, int]
    conflicting_rows: int
    near_duplicate_clusters: int
    shortened: Mapping[str, Shortened]
    splits: Mapping[str, SplitCounts]
    notes: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


@dataclass
class _Remark:
    first: str
    examples: int = 0


class _Failure(NamedTuple):
    source: str
    reason: str
    split: str


class Ledger:
    """Counts while the data are prepared, and a file of what was left out, which `finish` closes.

    Each raw row is given to `row`, `duplicate`, `reject_leak`, `not_drawn` or `unreadable`, once;
    the examples of a `row` to `keep`, `exclude` or `reject`, in the order of the rows (a row's
    exclusions may come early). The file gets a line of JSON for each example or row that is left
    out, as it comes.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.near_duplicate_clusters = 0
        self.notes: list[str] = []
        self.findings: list[Finding] = []
        self._file = path.open("w", encoding="utf-8")
        self._fates: Counter[str] = Counter()
        self._num_rows = 0  # rows that should give examples
        self._conflicting = 0
        self._splits = {name: SplitCounts() for name in SPLITS}
        self._shortened: dict[str, Shortened] = {}
        self._unreadable: list[str] = []
        # by row id: rows with a failed example and, so far, no kept one
        self._failed: dict[str, _Failure] = {}
        # places of examples that were left out of kept rows, by reason
        self._dropped: dict[str, list[str]] = {}
        self._last_kept: str | None = None
        self._remarks: dict[str, _Remark] = {}
        self._num_examples = 0

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # when preparing failed before `finish`

    def row(self, row_id: str, split: str, conflicting: bool = False) -> None:
        """A row that should give an example; `conflicting`: its input also has another target."""
        self._num_rows += 1
        self._conflicting += conflicting

    def duplicate(self, row_id: str, source: str, split: str = "") -> None:
        """A row with the input and target of an earlier one."""
        self._leave_out("duplicates", row_id, source, "duplicate", split)

    def reject_leak(self, row_id: str, source: str) -> None:
        """A row for training whose input is in the user's test file."""
        self._leave_out("leaked", row_id, source, "leaked", "train")

    def not_drawn(self, num_rows: int = 1) -> None:
        """Rows that a mixture leaves out: beyond its cap, or of a task it is not judged on."""
        self._fates["not_drawn"] += num_rows

    def unreadable(self, source: str, detail: str) -> None:
        """A line or record that is no row, and so is known by its place only."""
        self._unreadable.append(f"{source}: {detail}")
        self._leave_out("unreadable", source, source, "unreadable", "", detail)

    def keep(self, example: Example, tokens: TokenizedExample) -> None:
        """An example that is written to its split."""
        counts = self._splits[example.split]
        if example.row_id != self._last_kept:
            counts.rows += 1
            self._last_kept = example.row_id
        if failure := self._failed.pop(example.row_id, None):
            self._drop(failure.reason, failure.source)
        counts.examples += 1
        self._num_examples += 1
        remarks = (*tokens.remarks, SEVERAL) if len(example.references) > 1 else tokens.remarks
        for text in remarks:
            self._remarks.setdefault(text, _Remark(example.source)).examples += 1
        counts.tokens += len(tokens.input_ids)
        counts.trained_tokens += len(tokens.input_ids) - tokens.num_prompt_tokens

    def exclude(self, row_id: str, source: str, template: str, reason: str, split: str) -> None:
        """An example that the template does not make of this row."""
        self.reject(row_id, source, f"{EXCLUDED}: {reason}", f"template {template}", split)

    def reject(self, row_id: str, source: str, reason: str, detail: str, split: str) -> None:
        """An example that cannot be used; its row is rejected when none of its examples is kept."""
        self._write(row_id, source, reason, split, detail)
        if row_id == self._last_kept or row_id in self._failed:
            self._drop(reason, source)
        else:
            self._failed[row_id] = _Failure(source, reason, split)

    def _drop(self, reason: str, source: str) -> None:
        self._dropped.setdefault(reason, []).append(source)

    def shortened(self, row_id: str, field: str, characters: int) -> None:
        """A field that the template marks was cut by `characters`; the row is kept."""
        self._write(row_id, "", "shortened", "", f"{field}: {characters} characters")
        counts = self._shortened.setdefault(field, Shortened())
        counts.examples += 1
        counts.characters += characters
        counts.most_characters = max(counts.most_characters, characters)

    def remarks(self) -> list[str]:
        """What the chat template changed in the examples that were kept, and which of them have
        several right answers.
        """
        return [
            f"{text} ({remark.examples:,} of {self._num_examples:,} examples, "
            f"for example {remark.first})"
            for text, remark in self._remarks.items()
        ]

    def finish(self, max_rejected: float, num_raw: int | None = None) -> LedgerFacts:
        """The ledger as a record, for ledger.json.

        `num_raw` is the number of raw rows where it was counted apart. Raises RunError where the
        fates do not add up, DataError where more than the share `max_rejected` of the raw rows was
        rejected or unreadable; a conversation with several answers counts as often, an example that
        its template leaves out on purpose does not.
        """
        self._file.close()
        if num_raw is None:
            num_raw = self._num_rows + self._fates.total()
        for failure in self._failed.values():
            self._splits[failure.split].rejected += 1
        rows = {
            "raw": num_raw,
            **{
                fate: self._fates[fate]
                for fate in ("unreadable", "duplicates", "leaked", "not_drawn")
            },
            "rejected": len(self._failed),
            "kept": sum(counts.rows for counts in self._splits.values()),
        }
        _check_sum(rows)
        self._check_share(num_raw, max_rejected)
        dropped = {reason: len(places) for reason, places in self._dropped.items()}
        return LedgerFacts(
            rows=rows,
            rejected=_sorted(Counter(failure.reason for failure in self._failed.values())),
            dropped_examples_of_kept_rows=_sorted(Counter(dropped)),
            conflicting_rows=self._conflicting,
            near_duplicate_clusters=self.near_duplicate_clusters,
            shortened=self._shortened,
            splits=self._splits,
            notes=tuple(self.notes),
            findings=tuple(self.findings),
        )

    def _leave_out(
        self, fate: str, row_id: str, source: str, reason: str, split: str, detail: str = ""
    ) -> None:
        self._fates[fate] += 1
        self._write(row_id, source, reason, split, detail)

    def _write(self, row_id: str, source: str, reason: str, split: str, detail: str) -> None:
        line = {"id": row_id, "source": source, "reason": reason, "detail": detail, "split": split}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _check_share(self, num_raw: int, max_rejected: float) -> None:
        places: dict[str, list[str]] = {"unreadable": self._unreadable} if self._unreadable else {}
        for failure in self._failed.values():
            places.setdefault(failure.reason, []).append(failure.source)
        dropped = {r: found for r, found in self._dropped.items() if not r.startswith(EXCLUDED)}
        for reason, found in dropped.items():
            places.setdefault(reason, []).extend(found)
        num_rejected = sum(map(len, places.values()))
        more = self._num_examples - sum(counts.rows for counts in self._splits.values())
        total = num_raw + more + sum(map(len, dropped.values()))
        if num_rejected <= max_rejected * total:
            return
        reasons = sorted(places, key=lambda reason: -len(places[reason]))
        shown = "; ".join(
            f"{reason} {len(places[reason]):,} ({_first(places[reason])})" for reason in reasons
        )
        share, what = num_rejected / total, "rows" if total == num_raw else "examples"
        enough = math.ceil(share * 100) / 100
        remedy = REMEDIES.get(reasons[0].partition(":")[0], "repair these rows")
        raise DataError(
            f"{num_rejected:,} of {total:,} {what} rejected ({share:.1%}), "
            f"data.max_rejected is {max_rejected:.1%}: {shown}",
            hint=f"{remedy}; data.max_rejected={enough:g} goes on without them",
        )


def _first(sources: list[str]) -> str:
    more = ", ..." if len(sources) > NUM_PLACES else ""
    return ", ".join(sources[:NUM_PLACES]) + more


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(counts.most_common())


def _check_sum(rows: Mapping[str, int]) -> None:
    fates = {fate: number for fate, number in rows.items() if fate != "raw"}
    if sum(fates.values()) != rows["raw"]:
        counted = " + ".join(f"{number} {fate}" for fate, number in fates.items())
        raise RunError(
            f"the ledger does not add up: {rows['raw']} raw rows, "
            f"{counted} = {sum(fates.values())}",
            hint="this is a mistake in tunesmith: please report it",
        )


def ledger_table(ledger: LedgerFacts) -> Table:
    """The ledger on screen, from what `finish` returns."""
    table = Table("", *SPLITS, "all", title="Where every row went")
    for column in table.columns[1:]:
        column.justify = "right"

    def total(name: str, number: int) -> None:
        table.add_row(name, *[""] * len(SPLITS), f"{number:,}")

    def per_split(name: str, key: str) -> None:
        numbers = [getattr(ledger.splits[split], key) for split in SPLITS]
        table.add_row(name, *(f"{number:,}" for number in numbers), f"{sum(numbers):,}")

    rows = ledger.rows
    total("raw rows", rows["raw"])
    for fate in ("unreadable", "duplicates", "leaked", "not_drawn"):
        if rows[fate]:
            total(f"- {fate.replace('_', ' ')}", rows[fate])
    per_split("- rejected", "rejected")
    for reason, number in ledger.rejected.items():
        total(f"    {reason.replace('_', ' ')}", number)
    for name in ("rows", "examples", "tokens", "trained_tokens"):
        per_split("= rows kept" if name == "rows" else name.replace("_", " "), name)
    table.add_section()
    total("kept rows whose input has another target too", ledger.conflicting_rows)
    total("near-duplicate clusters", ledger.near_duplicate_clusters)
    for reason, number in ledger.dropped_examples_of_kept_rows.items():
        total(f"examples of kept rows left out: {reason.replace('_', ' ')}", number)
    for name, cut in ledger.shortened.items():
        total(f"examples with a shorter {name} ({cut.characters:,} characters)", cut.examples)
    return table
