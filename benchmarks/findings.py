"""Which planted defects are found before training, and what is said of good rows.

    python benchmarks/findings.py --shared ../shared --write docs/findings.md

Good rows are the data sets of `../shared/data`, described as their users would. Defects are planted
into five of them by plain changes of the rows. Everything goes through `tunesmith prepare` with
every finding allowed, so that all of them are counted.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
START, END = "<!-- table: benchmarks/findings.py -->", "<!-- end of table -->"
MODEL = "src/tunesmith/assets/base"
MOST_ROWS = 600  # of a table into which a defect is planted


@dataclass(frozen=True)
class Described:
    """Rows by split (the others are drawn from `train`), and the recipe's data section."""

    name: str
    parts: dict[str, Rows]
    data: dict[str, Any]


@dataclass
class Job:
    """One preparation: what was planted into what, and what should be found."""

    described: Described
    planted: str = ""
    expected: str = ""
    found: list[Any] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str = ""


# ---- good rows


def table(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def snips(folder: Path, kind: str) -> Rows:
    rows = []
    for file in sorted(folder.glob(f"{kind}_*.json")):
        text = file.read_bytes().decode("utf-8", "ignore")
        for intent, examples in json.loads(text).items():
            for one in examples:
                slots = {part["entity"]: part["text"] for part in one["data"] if "entity" in part}
                said = "".join(part["text"] for part in one["data"])
                rows.append({"text": said, "intent": intent, "slots": json.dumps(slots)})
    random.Random(0).shuffle(rows)
    return rows


def described(root: Path) -> Iterator[Described]:
    """Every data set of the shared folder, in each way that its users would put it."""
    reviews = {"task": "classify", "columns": {"text": "review", "label": "sentiment"}}
    yield Described(
        "customer_reviews", {"train": table(root / "reviews/customer_reviews.csv")}, reviews
    )
    movie = {"task": "classify", "labels": ["negative", "positive"]}
    yield Described(
        "movie_sentences", {"train": table(root / "reviews/movie_sentences.csv")}, movie
    )
    for name, task in (("trec", "type"), ("banking77", "category")):
        text = "question" if name == "trec" else "text"
        data = {"task": "classify", "columns": {"text": text, "label": task}}
        parts = {part: table(root / name / f"{part}.csv") for part in ("train", "test")}
        yield Described(f"{name}, own test", parts, data)
        yield Described(f"{name}, drawn test", {"train": parts["train"]}, data)
    dialogues = {"train": lines(root / "dialogsum/dev.jsonl")}
    for task, target in (("summarise", "summary"), ("title", "topic")):
        columns = {"text": "dialogue", "target": target}
        yield Described(f"dialogsum, {target}", dialogues, {"task": task, "columns": columns})
    maths = {part: lines(root / f"gsm8k/{part}.jsonl") for part in ("train", "test")}
    answer = {"task": "answer", "columns": {"question": "question", "target": "answer"}}
    yield Described("gsm8k", maths, answer)
    doctor = {p: table(root / f"mts_dialog/{p}.csv") for p in ("train", "validation", "test")}
    section = {"task": "summarise", "columns": {"text": "dialogue", "target": "section_text"}}
    yield Described("mts_dialog, summary", doctor, section)
    header = {"task": "classify", "columns": {"text": "dialogue", "label": "section_header"}}
    yield Described("mts_dialog, section", doctor, header)
    said = {
        "train": snips(root / "snips", "train"),
        "validation": snips(root / "snips", "validate"),
    }
    yield Described("snips, intent", said, {"task": "classify", "columns": {"label": "intent"}})
    yield Described("snips, slots", said, {"task": "extract", "columns": {"target": "slots"}})
    yield from induction(root / "instruction_induction/raw")


def induction(root: Path) -> Iterator[Described]:
    """The small tasks: as prompts with completions, half of them; the others by a template."""
    for number, file in enumerate(sorted((root / "induce").glob("*.json"))):
        examples = json.loads(file.read_text(encoding="utf-8"))["examples"].values()
        pairs = [pair for one in examples if (pair := as_pair(one)) is not None]
        names = ("prompt", "completion") if number % 2 else ("text", "target")
        rows = [dict(zip(names, pair, strict=True)) for pair in pairs]
        yield Described(file.stem, {"train": rows}, {} if number % 2 else {"task": "free"})


def as_pair(one: dict[str, Any]) -> tuple[str, str] | None:
    if "items" in one:
        return ", ".join(one["items"]), one["concept"]
    if "input" in one:
        return str(one["input"]), str(one["output"])
    return (one["cause"] + " / " + one["effect"], one["cause"]) if "cause" in one else None


# ---- planted defects


Change = Callable[[Described, random.Random], Described]


def keys(one: Described) -> tuple[str, str]:
    """The columns of the input and of the target."""
    columns = one.data.get("columns", {})
    text = columns.get("text") or columns.get("question") or "text"
    return text, columns.get("label") or columns.get("target") or "label"


def changed(one: Described, rows: Rows, **data: Any) -> Described:
    return Described(one.name, {**one.parts, "train": rows}, {**one.data, **data})


def texts(one: Described, change: Callable[[dict[str, Any]], str]) -> Described:
    text, _ = keys(one)
    return changed(one, [{**row, text: change(row)} for row in one.parts["train"]])


def targets(one: Described, change: Callable[[int, dict[str, Any]], Any]) -> Described:
    _, target = keys(one)
    rows = one.parts["train"]
    return changed(one, [{**row, target: change(i, row)} for i, row in enumerate(rows)])


def shown(form: str) -> Change:
    def change(one: Described, rng: random.Random) -> Described:
        text, target = keys(one)
        return texts(one, lambda row: form.format(text=row[text], target=name_of(one, row[target])))

    return change


def name_of(one: Described, value: Any) -> Any:
    labels = one.data.get("labels")
    return labels[int(value)] if labels else value


def unnamed(one: Described) -> Described:
    """Without the names of the labels, for rows that have other labels now."""
    return Described(one.name, one.parts, {k: v for k, v in one.data.items() if k != "labels"})


def shifted(by: int) -> Change:
    def change(one: Described, rng: random.Random) -> Described:
        _, target = keys(one)
        rows = one.parts["train"]
        return targets(one, lambda i, row: rows[(i - by) % len(rows)][target])

    return change


def conflicting(share: float) -> Change:
    def change(one: Described, rng: random.Random) -> Described:
        _, target = keys(one)
        rows = one.parts["train"]
        values = sorted({row[target] for row in rows})
        again = rng.sample(rows, int(share * len(rows)))
        other = [
            {**row, target: rng.choice([v for v in values if v != row[target]])} for row in again
        ]
        return changed(one, rows + other)

    return change


def relabelled(share: float, change: Callable[[str], str], only_one: bool = True) -> Change:
    """A share of the rows with the commonest label (or of all) have another label."""

    def apply(one: Described, rng: random.Random) -> Described:
        _, target = keys(one)
        names = [str(name_of(one, row[target])) for row in one.parts["train"]]
        common = max(set(names), key=names.count)
        new = targets(
            one,
            lambda i, row: (
                change(names[i])
                if rng.random() < share and (names[i] == common or not only_one)
                else names[i]
            ),
        )
        return unnamed(new)

    return apply


def slip(label: str) -> str:
    return label[:2] + label[3:] if len(label) > 4 else label + label[-1]


def copies(part: str, source: str, change: Callable[[str], str] = str) -> Change:
    """A validation or test file that is made of the training rows."""

    def apply(one: Described, rng: random.Random) -> Described:
        text, _ = keys(one)
        rows = one.parts["train"] if source == "train" else one.parts["train"][::4]
        again = [{**row, text: change(row[text])} for row in rows]
        return Described(one.name, {**one.parts, part: again}, one.data)

    return apply


def grouped(one: Described, rng: random.Random) -> Described:
    rows = [{**row, "who": f"w{i % 50}"} for i, row in enumerate(one.parts["train"])]
    n = len(rows) * 4 // 5
    parts = {"train": rows[:n], "test": rows[n:]}
    return Described(one.name, parts, {**one.data, "split": {"group": "who"}})


def sorted_and_cut(one: Described, rng: random.Random) -> Described:
    _, target = keys(one)
    rows = sorted(one.parts["train"], key=lambda row: str(row[target]))
    counts = [str(row[target]) for row in rows]
    first = counts.index(sorted(set(counts))[1])
    return changed(one, rows, max_rows=first + (len(rows) - first) // 3)


def badly_decoded(one: Described, rng: random.Random) -> Described:
    text, _ = keys(one)
    words = "caf\u00e9 na\u00efve \u201cso\u201d it\u2019s".encode().decode("cp1252", "replace")
    return texts(one, lambda row: row[text] + (" " + words if rng.random() < 0.05 else ""))


ANY: dict[str, tuple[str, Change]] = {
    "the answer after each text": ("target_in_prompt", shown("{text} ({target})")),
    "the column of the answers as the input": ("target_in_prompt", shown("{target}")),
    "answers one row down": ("shifted_labels", shifted(1)),
    "answers one row up": ("shifted_labels", shifted(-1)),
    "the training file as validation": ("train_in_validation", copies("validation", "train")),
    "a quarter of the training file as validation": (
        "train_in_validation", copies("validation", "some"),
    ),
    "the training file as test": ("train_in_test", copies("test", "train")),
    "the training file with a word more as test": (
        "train_in_test", copies("test", "train", lambda text: text + " indeed"),
    ),
    "groups on two sides of the user's test file": ("same_group", grouped),
    "one input in all rows": ("same_input", lambda one, rng: texts(one, lambda row: "see above")),
    "one answer in all rows": ("constant_target", lambda one, rng: targets(one, lambda i, row:
        one.parts["train"][0][keys(one)[1]])),
    "text in the wrong encoding, 5 % of rows": ("mojibake", badly_decoded),
}  # fmt: skip
LABELS: dict[str, tuple[str, Change]] = {
    "each label before its text": ("target_in_prompt", shown("{target}: {text}")),
    "all rows again with another label": ("conflicting_labels", conflicting(1.0)),
    "a tenth of the rows again with another label": ("conflicting_labels", conflicting(0.1)),
    "typing errors in 1 % of the labels": ("label_typo", relabelled(0.01, slip)),
    "capitals in 20 % of the labels": (
        "label_spelling", relabelled(0.2, str.upper, only_one=False),
    ),
    "N/A as the label of 12 % of rows": (
        "null_label", relabelled(0.12, lambda label: "N/A", only_one=False),
    ),
    "a column of ids as the labels": (
        "one_class_per_row", lambda one, rng: unnamed(targets(one, lambda i, row: f"id-{i}")),
    ),
    "sorted by label, and the first rows taken": ("cut_sorted", sorted_and_cut),
}  # fmt: skip
INTO = {
    "customer_reviews": True,
    "movie_sentences": True,
    "trec, drawn test": True,
    "dialogsum, summary": False,
    "gsm8k": False,
}


def planted(sets: list[Described]) -> Iterator[Job]:
    for one in sets:
        if one.name not in INTO:
            continue
        rows = random.Random(1).sample(one.parts["train"], min(MOST_ROWS, len(one.parts["train"])))
        small = Described(one.name, {"train": rows}, one.data)
        for name, (expected, change) in (ANY | (LABELS if INTO[one.name] else {})).items():
            yield Job(change(small, random.Random(2)), name, expected)


# ---- preparing


def run(job: Job, folder: Path) -> None:
    from tunesmith.data.ledger import LedgerFacts
    from tunesmith.data.lint.names import ABOUT_ROWS
    from tunesmith.data.lint.rules import RULES
    from tunesmith.errors import TunesmithError
    from tunesmith.recipe import build_recipe
    from tunesmith.run_files import read_record
    from tunesmith.rundir import RunDir
    from tunesmith.stages.prepare import prepare

    data = dict(job.described.data)
    for part, rows in job.described.parts.items():
        file = folder / f"{part}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        data[{"train": "source"}.get(part, f"{part}_source")] = str(file)
    data |= {"allow": [*ABOUT_ROWS, *RULES], "max_rejected": 1.0}
    recipe, _ = build_recipe({"model": MODEL, "data": data, "output_dir": str(folder / "run")})
    started = time.monotonic()
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            prepare(recipe, trainings=0, use_cache=False)
        job.found = list(read_record(RunDir(folder / "run").ledger, LedgerFacts).findings)
    except TunesmithError as error:  # an error of its own that no finding is needed for
        job.stopped = error.message
    job.seconds = time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--write", type=Path, help="the page whose table is replaced")
    parser.add_argument("--only", default="", help="a part of the name of a data set or defect")
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    sets = list(described(args.shared / "data"))
    jobs = [*map(Job, sets), *planted(sets)]
    jobs = [job for job in jobs if args.only in f"{job.described.name} {job.planted}"]
    for job in jobs:
        with tempfile.TemporaryDirectory() as folder:
            run(job, Path(folder))
        names = [f"{one.severity} {one.name}" for one in job.found]
        print(
            f"{job.described.name} | {job.planted} | {job.expected} | {names} {job.stopped[:90]}"
            f" | {job.seconds:.1f} s",
            file=sys.stderr,
            flush=True,
        )
        if not job.planted:
            for one in job.found:
                print(f"    {one.text}"[:400], file=sys.stderr)
    text = tables(jobs)
    if args.write:
        page = args.write.read_text(encoding="utf-8")
        before, after = page.partition(START)[0], page.partition(END)[2]
        args.write.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")
    else:
        print(text)


def is_found(job: Job) -> bool:
    return any(one.name == job.expected for one in job.found) or bool(job.stopped)


def tables(jobs: list[Job]) -> str:
    good = [job for job in jobs if not job.planted]
    said = [f"{job.described.name}: {one.name}" for job in good for one in job.found]
    kinds = [one.severity for job in good for one in job.found]
    out = [
        f"{len(good)} data sets as they are: {kinds.count('error')} errors, "
        f"{kinds.count('warning')} warnings" + (f" ({'; '.join(said)})." if said else "."),
        "",
        "| planted | finding | found in |",
        "|---|---|---:|",
    ]
    for name in dict.fromkeys(job.planted for job in jobs if job.planted):
        own = [job for job in jobs if job.planted == name]
        hits = sum(map(is_found, own))
        out.append(f"| {name} | {own[0].expected} | {hits} of {len(own)} |")
    return "\n".join(out)


if __name__ == "__main__":
    main()
