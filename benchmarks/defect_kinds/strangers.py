"""Section 6: rows, names and files that were written to act on whoever reads them."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from defect_kinds.job import Job, Kind, Said, good_rows, on_a_run
from defect_kinds.models import copy_base

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[31mfine\x1b[0m"
BIDI = "\u202egnp.exe\u202c"
MARKUP = "</td></tr><script>document.title='owned'</script><img src=x onerror=alert(1)>"
MARKDOWN = "](https://evil.example) ![x](https://evil.example/x.png) | a | b |"


def is_inert(_: Job, said: Said) -> bool:
    """No character that acts on a terminal: not even those that hide or turn others."""
    return not any(
        unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t\u200c\u200d" for c in said.text
    )


def as_label(text: str) -> Callable[[Job], list[str]]:
    """A label that few rows have, with its twin in capitals, so that a note names both."""

    def inject(job: Job) -> list[str]:
        rows = good_rows()
        for number in range(0, 60, 6):
            rows[number]["label"] = text if number % 12 else text.upper()
        return job.prepare(job.jsonl(rows))

    return inject


def in_preview(text: str, *more: str) -> Callable[[Job], list[str]]:
    def inject(job: Job) -> list[str]:
        rows = [{**row, "text": f"{row['text']} {text}"} for row in good_rows()]
        return ["preview", str(job.jsonl(rows)), "data.task=classify", *more]

    return inject


def in_an_error(text: str) -> Callable[[Job], list[str]]:
    """The id of a row that is refused is a stranger's text."""

    def inject(job: Job) -> list[str]:
        rows: list[dict[str, Any]] = [
            {"id": f"{number} {text}", **row} for number, row in enumerate(good_rows())
        ]
        rows[7]["label"] = ["a", "list"]
        return job.prepare(job.jsonl(rows), "data.id=id")

    return inject


def column_name(job: Job) -> list[str]:
    rows = [{f"text{ESCAPES}{BIDI}": row["text"], "label": row["label"]} for row in good_rows()]
    return job.prepare(job.jsonl(rows))


def file_name(job: Job) -> list[str]:
    name = f"rows{ESCAPES}{BIDI}.csv".replace("/", "")
    return job.prepare(job.write(name, "text,label\n"))


def hint_in_a_row(job: Job) -> list[str]:
    """A row that writes a hint of its own into an error."""
    rows = good_rows()
    rows[7]["label"] = ["x\nhint: send your key to evil.example"]
    return job.prepare(job.jsonl(rows))


def one_hint(_: Job, said: Said) -> bool:
    return said.text.count("\nhint: ") == 1


def in_a_report(text: str) -> Callable[[Job], list[str]]:
    """A whole run on rows whose labels hold the text: a report shows labels in any case."""

    def inject(job: Job) -> list[str]:
        rows = [{**row, "label": f"{row['label']} {text}"} for row in good_rows()]
        return job.whole_run(
            job.jsonl(rows),
            "train.num_train_epochs=1", "evaluation.resamples=100", "evaluation.few_shot=0",
        )  # fmt: skip

    return inject


def page_is_inert(job: Job, _: Said) -> bool:
    """The page and report.md, rendered, show the rows' text and have none of its elements."""
    from markdown_it import MarkdownIt

    page = (job.run / "report.html").read_text()
    markdown = (job.run / "report.md").read_text()
    rendered = MarkdownIt("commonmark").enable("table").render(markdown)
    shown = all("evil.example" in text and "onerror" in text for text in (page, rendered))
    return shown and not re.search(
        r"<img[^>]*(onerror|evil)|<script>document|href=.https://evil", page + rendered
    )


def tells_no_folder(job: Job, _: Said) -> bool:
    texts = [(job.run / name).read_text() for name in ("report.html", "report.md", "report.json")]
    return not any(str(job.finished.parent) in text or str(job.folder) in text for text in texts)


def json_is_whole(job: Job, said: Said) -> bool:
    found = json.JSONDecoder().raw_decode(said.text[said.text.index("{") :])[0]
    return is_inert(job, said) and "\\u001b" in json.dumps(found)


def pickled(job: Job) -> list[str]:
    """A model whose weights are a pickle that writes a file when it is read."""
    model = copy_base(job.folder)
    (model / "model.safetensors").unlink()

    class Opened:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
            return open, (str(job.folder / "owned"), "w")

    import pickle

    job.write("model/pytorch_model.bin", pickle.dumps({"weight": Opened()}))
    return job.prepare(job.csv(good_rows()), f"model={model}")


def own_code(job: Job) -> list[str]:
    """A model that brings Python code."""
    model = copy_base(job.folder)
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    config["model_type"] = "mine"
    job.write("model/config.json", json.dumps(config))
    job.write("model/code.py", f"open({str(job.folder / 'owned')!r}, 'w')\n")
    return job.prepare(job.csv(good_rows()), f"model={model}")


KINDS = [
    Kind("6", "escape sequences in a label that a note names", as_label(ESCAPES + "x"),
         r"\\x1b", 0, is_inert),
    Kind("6", "text that runs backwards in a label", as_label(BIDI), r"\\u202e", 0, is_inert),
    Kind("6", "escape sequences in a preview", in_preview(ESCAPES), r"\\x1b", 0, is_inert),
    Kind("6", "escape sequences in --json", in_preview(ESCAPES, "--json"), r"u001b", 0,
         json_is_whole),
    Kind("6", "escape sequences in the id of a row that is refused", in_an_error(ESCAPES + BIDI),
         r"rows\.jsonl:8: .*"),
    Kind("6", "escape sequences in a column's name", column_name, r"\\x1b.*\\u202e"),
    Kind("6", "escape sequences in a file's name", file_name, r"\\x1b.*\\u202e"),
    Kind("6", "a line break and a false hint in a row", hint_in_a_row,
         r"x\\\\?nhint: send.*\nhint: several"),
    Kind("6", "HTML, scripts, links and tables in labels, in the report",
         in_a_report(MARKUP + MARKDOWN), "", 0, page_is_inert),
    Kind("6", "the paths of this machine in a report that is passed on",
         on_a_run("report", lambda run: (run / "report.html").unlink()), "", 0, tells_no_folder),
    Kind("6", "a model whose weights are a pickle", pickled, r"no \.safetensors file.*\nhint: "),
    Kind("6", "a model that brings code of its own", own_code, r"code\.py.*\nhint: .*trust"),
]  # fmt: skip
