"""Section 2: what is wrong with the rows as a whole, found before training."""

from __future__ import annotations

import random
from collections.abc import Callable

from defect_kinds.job import Job, Kind, Row, good_rows

N = 200


def changed(change: Callable[[int, Row], Row], *overrides: str) -> Callable[[Job], list[str]]:
    """Each of the good rows, changed."""

    def inject(job: Job) -> list[str]:
        rows = [change(number, dict(row)) for number, row in enumerate(good_rows(N))]
        return job.prepare(job.csv(rows), *overrides)

    return inject


def with_text(form: str) -> Callable[[Job], list[str]]:
    return changed(lambda _, row: {**row, "text": form.format(**row)})


def with_label(label: Callable[[int, str], str]) -> Callable[[Job], list[str]]:
    return changed(lambda number, row: {**row, "label": label(number, row["label"])})


def shifted(job: Job) -> list[str]:
    rows = good_rows(400)
    labels = [row["label"] for row in rows]
    moved = [{**row, "label": labels[number - 1]} for number, row in enumerate(rows)]
    return job.prepare(job.csv(moved))


def conflicting(job: Job) -> list[str]:
    """Every text stands there twice, once with each label."""
    other = {"good": "bad", "bad": "good"}
    rows = good_rows(N // 2)
    return job.prepare(job.csv([*rows, *({**row, "label": other[row["label"]]} for row in rows)]))


def own_split(name: str, part: Callable[[list[Row]], list[Row]]) -> Callable[[Job], list[str]]:
    """A file of the user's own for validation or test, made from the training rows."""

    def inject(job: Job) -> list[str]:
        rows = good_rows(N)
        own = job.csv(part(rows), f"{name}.csv")
        return job.prepare(job.csv(rows), f"data.{name}_source={own}")

    return inject


def both_splits_the_same(job: Job) -> list[str]:
    rows = good_rows(N + 40)
    own = [job.csv(rows[N:], f"{name}.csv") for name in ("validation", "test")]
    files = [f"data.validation_source={own[0]}", f"data.test_source={own[1]}"]
    return job.prepare(job.csv(rows[:N]), *files)


def nearly(rows: list[Row]) -> list[Row]:
    return [{**row, "text": f"{row['text'].removesuffix('.')}!"} for row in rows[:60]]


def named_splits(job: Job) -> list[str]:
    """The splits are a column's, and an author has rows in each."""
    rng = random.Random(1)
    splits = ["train"] * 8 + ["validation", "test"]
    rows = [
        {**row, "author": f"author {number % 20}", "split": rng.choice(splits)}
        for number, row in enumerate(good_rows(N))
    ]
    return job.prepare(job.csv(rows), "data.split.column=split", "data.split.group=author")


def first_of_a_sorted_file(job: Job) -> list[str]:
    rows = sorted(good_rows(600), key=lambda row: str(row["label"]))
    part = [row for row in rows if row["label"] == "bad"]
    return job.prepare(job.csv(rows), f"data.max_rows={len(part) - 20}")


def cut_a_sorted_file(job: Job) -> list[str]:
    """Three labels, of which the first rows have two."""
    rows = sorted(good_rows(600), key=lambda row: str(row["label"]))
    for row in rows[450:]:
        row["label"] = "great"
    return job.prepare(job.csv(rows), "data.max_rows=430")


def scanned(text: str, kind: str) -> Callable[[Job], list[str]]:
    def change(number: int, row: Row) -> Row:
        return {**row, "text": f"{row['text']} {text}"} if number % 40 == 0 else row

    return changed(change, f"data.scan=[{kind}]")


def one_letter(number: int, label: str) -> str:
    """Long names for the labels, now and then with a letter left out."""
    name = {"good": "positive", "bad": "negative"}[label]
    return name.replace("tive", "tve") if number % 60 == 0 else name


TEMPLATE = "Text: {{text}} The answer is {{label}}. Which is it? ||| {{label}}"
KINDS = [
    Kind("2", "the text ends with its own label", with_text("{text} {label}"),
         r"target_in_prompt"),
    Kind("2", "the text names its own label", with_text("[{label}] {text}"), r"target_in_prompt"),
    Kind("2", "a template that shows the answer",
         lambda job: job.prepare(job.csv(good_rows(N)), f"data.template={TEMPLATE}", task=""),
         r"target_in_prompt"),
    Kind("2", "every text twice, with both labels", conflicting, r"conflicting_labels"),
    Kind("2", "labels that are shifted by one row", shifted, r"shifted_labels"),
    Kind("2", "a class of its own for each row", with_label(lambda number, _: f"row {number}"),
         r"one_class_per_row"),
    Kind("2", "one label in all rows", with_label(lambda *_: "good"), r"constant_target|answer"),
    Kind("2", "one text in all rows", with_text("The mug."), r"2 of 200 rows remain"),
    Kind("2", "labels with a typing error", with_label(one_letter), r"label_typo", 0),
    Kind("2", "a validation file that is the training file", own_split("validation", list),
         r"train_in_validation"),
    Kind("2", "a test file that is the training file", own_split("test", list),
         r"0 of 200 rows remain"),
    Kind("2", "validation rows that are training rows, nearly", own_split("validation", nearly),
         r"train_in_validation"),
    Kind("2", "a test file that is the validation file", both_splits_the_same,
         r"validation_in_test"),
    Kind("2", "one author in all splits of the user's own", named_splits, r"same_group"),
    Kind("2", "max_rows in a file that is sorted by label: one label is left",
         first_of_a_sorted_file, r"cut_sorted|one answer|sorted"),
    Kind("2", "max_rows in a file that is sorted by label: a label is lost", cut_a_sorted_file,
         r"cut_sorted"),
    Kind("2", "UTF-8 that was read as cp1252",
         changed(lambda number, row: {**row, "text": row["text"] + " cafÃ© â€œgutâ€\x9d"}),
         r"(?i)mojibake|wrong encoding", 0),
    Kind("2", "a key of a cloud service in a text (data.scan)",
         scanned("AKIA" + "IOSFODNN7EXAMPLQ", "secrets"), r"(?i)AWS|secret|key", 0),
    Kind("2", "e-mail addresses in texts (data.scan)",
         scanned("anna.muster@example.org", "personal_data"), r"(?i)e-mail", 0),
]  # fmt: skip
