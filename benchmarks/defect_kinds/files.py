"""Section 1: files as other programs and people write them."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable

from defect_kinds.job import Job, Kind, Row, Said, answers_are, good_rows, keeps

TWO_LABELS = answers_are("good", "bad")


def rewritten(name: str, change: Callable[[str], str | bytes]) -> Callable[[Job], list[str]]:
    """The good rows as a CSV, changed as text, under a name."""

    def inject(job: Job) -> list[str]:
        text = job.csv(good_rows()).read_text()
        (job.folder / "rows.csv").unlink()
        return job.prepare(job.write(name, change(text)))

    return inject


def document(shape: Callable[[list[Row]], object], indent: int | None = None,
             task: str = "classify") -> Callable[[Job], list[str]]:  # fmt: skip
    def inject(job: Job) -> list[str]:
        text = json.dumps(shape(good_rows()), indent=indent)
        return job.prepare(job.write("rows.json", text), task=task)

    return inject


def all_rows_with_two_labels(job: Job, said: Said) -> bool:
    return keeps(60)(job, said) and TWO_LABELS(job, said)


def line_put(number: int, text: str) -> Callable[[str], str]:
    """The text with another line in place of one; the header is number 1."""

    def change(whole: str) -> str:
        lines = whole.splitlines()
        lines[number - 1] = text
        return "\n".join(lines) + "\n"

    return change


def with_separator(separator: str) -> Callable[[Job], list[str]]:
    def inject(job: Job) -> list[str]:
        return job.prepare(job.csv(good_rows(), delimiter=separator))

    return inject


def pandas_index(text: str) -> str:
    head, *lines = text.splitlines()
    return "\n".join([f",{head}", *(f"{number},{line}" for number, line in enumerate(lines))])


def a_quote_that_swallows_rows(job: Job) -> list[str]:
    rows = [{"label": row["label"], "text": row["text"].replace(",", ";")} for row in good_rows()]
    lines = job.csv(rows).read_text().splitlines()
    lines[6] = lines[6].replace(",", ',"Best ', 1)
    lines[9] += '"'
    return job.prepare(job.write("rows.csv", "\n".join(lines) + "\n"))


def a_quote_in_a_tsv(job: Job) -> list[str]:
    lines = job.csv(good_rows(), "rows.tsv", delimiter="\t").read_text().splitlines()
    lines[6] = '"Best ' + lines[6]
    return job.prepare(job.write("rows.tsv", "\n".join(lines) + "\n"))


def two_encodings(text: str) -> bytes:
    lines = text.replace("radio", "Türklingel").splitlines()
    half = len(lines) // 2
    mixed = [line.encode("utf-8" if i < half else "cp1252") for i, line in enumerate(lines)]
    return b"\n".join(mixed) + b"\n"


def squad(job: Job) -> list[str]:
    paragraphs = [
        {"context": row["text"], "qas": [
            {"id": str(i), "question": f"Which order is number {i}?", "is_impossible": False,
             "answers": [{"text": row["text"][:9], "answer_start": 0}]}]}
        for i, row in enumerate(good_rows())
    ]  # fmt: skip
    text = json.dumps({"version": "2.0", "data": [{"title": "t", "paragraphs": paragraphs}]})
    columns = "data.columns={target: answers}"
    return job.prepare(job.write("rows.json", text), columns, task="answer_from_context")


def conll(job: Job) -> list[str]:
    sentences = []
    for number, row in enumerate(good_rows()):
        words = row["text"].split()
        tags = ["B-THING" if i == 3 else "O" for i in range(len(words))]
        tags[0] = "B-ORDER" if number % 2 else "O"
        sentences.append("".join(f"{w} {t}\n" for w, t in zip(words, tags, strict=True)))
    return job.prepare(job.write("rows.conll", "\n".join(sentences)), task="tag")


def parallel(job: Job) -> list[str]:
    texts = [row["text"] for row in good_rows()]
    job.write("pairs/rows.en", "\n".join(texts) + "\n")
    job.write("pairs/rows.la", "\n".join(text[::-1] for text in texts) + "\n")
    columns = "data.columns={text: en, target: la}"
    return job.prepare(job.folder / "pairs", columns, task="translate")


def parallel_of_different_length(job: Job) -> list[str]:
    command = parallel(job)
    texts = (job.folder / "pairs" / "rows.la").read_text().splitlines()
    job.write("pairs/rows.la", "\n".join(texts[:-3]) + "\n")
    return command


def label_before_text(form: str, name: str) -> Callable[[Job], list[str]]:
    def inject(job: Job) -> list[str]:
        lines = [form.format(**row) for row in good_rows()]
        return job.prepare(job.write(name, "\n".join(lines) + "\n"))

    return inject


def workbook(job: Job) -> list[str]:
    """The rows are on the second of three sheets; the first is empty."""
    import openpyxl

    book = openpyxl.Workbook()
    table = book.create_sheet("Data")
    table.append(["text", "label"])
    for row in good_rows():
        table.append([row["text"], row["label"]])
    book.create_sheet("Notes").append(["seen by", "nobody"])
    book.save(job.folder / "rows.xlsx")
    return job.prepare(job.folder / "rows.xlsx")


def no_workbook(job: Job) -> list[str]:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("readme.txt", "no sheets here")
    return job.prepare(job.write("rows.xlsx", held.getvalue()))


def folder_of_splits(validation: str) -> Callable[[Job], list[str]]:
    def inject(job: Job) -> list[str]:
        rows = good_rows(84)
        for name, part in (("train", rows[:60]), (validation, rows[60:72]), ("test", rows[72:])):
            job.csv(part, f"reviews/{name}.csv")
        return job.prepare(job.folder / "reviews")

    return inject


def are_splits(job: Job, _: Said) -> bool:
    ledger = job.ledger()["splits"]
    return [ledger[s]["rows"] for s in ("train", "validation", "test")] == [60, 12, 12]


def packed(whole: bool) -> Callable[[Job], list[str]]:
    def inject(job: Job) -> list[str]:
        content = gzip.compress(job.csv(good_rows()).read_bytes())
        (job.folder / "rows.csv").unlink()
        return job.prepare(job.write("rows.csv.gz", content if whole else content[:-300]))

    return inject


def pretty_with_null(rows: list[Row]) -> list[Row]:
    return [{**row, "text": None} if number == 11 else row for number, row in enumerate(rows)]


def half_a_pair(job: Job) -> list[str]:
    rows = good_rows()
    rows[7]["text"] += " \ud83d"
    return job.prepare(job.jsonl(rows))


def broken_json(job: Job) -> list[str]:
    lines = job.jsonl(good_rows()).read_text().splitlines()
    lines[7] = lines[7][:-1]
    return job.prepare(job.write("rows.jsonl", "\n".join(lines) + "\n"))


def wrong_suffix(job: Job) -> list[str]:
    content = job.jsonl(good_rows()).read_bytes()
    (job.folder / "rows.jsonl").unlink()
    return job.prepare(job.write("rows.parquet", content))


LINE = 8  # where a single bad line is put
KINDS = [
    Kind("1", "a byte order mark and blanks around the column names",
         rewritten("rows.csv", lambda t: "\ufeff" + t.replace("text,label", " text , label ")),
         "", 0, all_rows_with_two_labels),
    Kind("1", "a file without a header",
         rewritten("rows.csv", lambda t: t.partition("\n")[2]), "no header", 0,
         all_rows_with_two_labels),
    Kind("1", "pandas' index, a first column without a name", rewritten("rows.csv", pandas_index),
         "index", 0, all_rows_with_two_labels),
    Kind("1", "empty columns at the end of a spreadsheet's rows",
         rewritten("rows.csv", lambda t: t.replace("\n", ",,\n")), "at the end without a name", 0,
         all_rows_with_two_labels),
    Kind("1", "semicolons in a .csv", with_separator(";"), "read with semicolons", 0,
         all_rows_with_two_labels),
    Kind("1", "tabs in a .csv", with_separator("\t"), "read with tabs", 0,
         all_rows_with_two_labels),
    Kind("1", "cp1252, as a spreadsheet saves it",
         rewritten("rows.csv", lambda t: t.replace("radio", "Türklingel").encode("cp1252")),
         "not utf-8, read as cp1252", 0, all_rows_with_two_labels),
    Kind("1", "UTF-16, as a spreadsheet saves it",
         rewritten("rows.csv", lambda t: t.encode("utf-16")), "", 0, all_rows_with_two_labels),
    Kind("1", "two encodings in one file", rewritten("rows.csv", two_encodings),
         r"rows\.csv.*\nhint: "),
    Kind("1", "a file that is packed (.gz)", packed(True), "", 0, all_rows_with_two_labels),
    Kind("1", "a packed file that was cut off", packed(False), r"rows\.csv\.gz"),
    Kind("1", "an empty file", rewritten("rows.csv", lambda _: ""), r"rows\.csv"),
    Kind("1", "a header and no row", rewritten("rows.csv", lambda t: t.partition("\n")[0] + "\n"),
         r"rows\.csv"),
    Kind("1", "a quote that opens in one row and closes three rows later",
         a_quote_that_swallows_rows, r"rows\.csv:7: "),
    Kind("1", "a quote that never closes",
         rewritten("rows.csv", line_put(LINE, '"The mug is fine,good')), rf"rows\.csv:{LINE}: "),
    Kind("1", "a quote at the beginning of a cell of a .tsv", a_quote_in_a_tsv, "quote", 0,
         all_rows_with_two_labels),
    Kind("1", "a row with a cell too many",
         rewritten("rows.csv", line_put(LINE, "The mug, is fine,good")), rf"rows\.csv:{LINE}: "),
    Kind("1", "the header again among the rows",
         rewritten("rows.csv", line_put(LINE, "text,label")), rf"rows\.csv:{LINE}: "),
    Kind("1", "a NUL character in a row",
         rewritten("rows.csv", line_put(LINE, "The mug \0 is fine,good")), rf"rows\.csv:{LINE}: "),
    Kind("1", "half of a surrogate pair in a row", half_a_pair, rf"rows\.jsonl:{LINE}: "),
    Kind("1", "a line of JSON that is none", broken_json, rf"rows\.jsonl:{LINE}: "),
    Kind("1", "a null in the 12th object of an indented JSON list",
         document(pretty_with_null, indent=1), r"rows\.json:46\b"),
    Kind("1", "JSON lines under the name of a parquet file", wrong_suffix, r"rows\.parquet"),
    Kind("1", "a JSON object whose keys are splits",
         document(lambda rows: {"train": rows[:40], "dev": rows[40:50], "test": rows[50:]}),
         "splits", 0, lambda job, _: job.ledger()["splits"]["test"]["rows"] == 10),
    Kind("1", "a JSON object whose keys are columns",
         document(lambda rows: {k: [row[k] for row in rows] for k in ("text", "label")}), "", 0,
         all_rows_with_two_labels),
    Kind("1", "JSON lists of [text, label] pairs",
         document(lambda rows: [[row["text"], row["label"]] for row in rows]),
         "read as text and label", 0, all_rows_with_two_labels),
    Kind("1", "SQuAD's nested JSON", squad, "SQuAD", 0, keeps(60)),
    Kind("1", "CoNLL's columns", conll, "", 0, keeps(60)),
    Kind("1", "parallel text files", parallel, "parallel|line by line", 0, keeps(60)),
    Kind("1", "parallel text files of different length", parallel_of_different_length,
         "60.*57|57.*60"),
    Kind("1", "fastText's lines", label_before_text("__label__{label} {text}", "rows.txt"),
         "fastText", 0, all_rows_with_two_labels),
    Kind("1", "a label before each text", label_before_text("{label} {text}", "rows.txt"), "label",
         0, all_rows_with_two_labels),
    Kind("1", "a workbook whose first sheet is empty and whose third has notes", workbook,
         "(?s)Data.*Notes", 0, all_rows_with_two_labels),
    Kind("1", "a zip file that is no workbook", no_workbook, r"rows\.xlsx"),
    Kind("1", "a folder with train, validation and test files", folder_of_splits("validation"),
         "the files are the splits", 0, are_splits),
    Kind("1", "a folder with train, dev and test files", folder_of_splits("dev"),
         "the files are the splits", 0, are_splits),
]  # fmt: skip
