"""The small inputs of ../shared/cases that are about whole rows, from the file to token ids or to
scores, with their right values.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score
from sklearn.preprocessing import MultiLabelBinarizer
from support import exit_code_of, read_tokenized, shared

from tunesmith import stages
from tunesmith.data.store import read_examples
from tunesmith.errors import DataError
from tunesmith.evaluate.score_file import score_file
from tunesmith.models.load import load_tokenizer
from tunesmith.recipe import build_recipe
from tunesmith.records import IGNORE_INDEX, SPLITS, Example, TokenizedExample
from tunesmith.rundir import RunDir, read_json

CHATML = (
    "{% for m in messages %}{{ '<' + m.role + '>' + m.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
WITH_TOOLS = (
    "{% if tools %}{{ 'Tools: ' + (tools | tojson) + '\n' }}{% endif %}"
    "{% for m in messages %}{{ '<' + m.role + '>' + (m.content or '') }}"
    "{% for c in m.tool_calls or [] %}{{ '<call>' + (c.function | tojson) }}{% endfor %}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


class Prepared:
    """A run folder as `prepare` leaves it, with the tokenizer it was made with."""

    def __init__(self, folder: Path, model: Path, source: Path, template: str, **data: Any) -> None:
        (folder / "chat.jinja").write_text(template)
        values = {
            "model": str(model),
            "chat_template": str(folder / "chat.jinja") if template else None,
            "data": {"source": str(source), **data},
            "output_dir": str(folder / "run"),
        }
        stages.prepare.prepare(build_recipe(values)[0])
        self.run = RunDir(folder / "run")
        self.tokenizer = load_tokenizer(str(model))
        self.tokenizer.chat_template = template or None

    def rows(self) -> list[TokenizedExample]:
        return [row for split in SPLITS for row in read_tokenized(self.run.examples(split))]

    def examples(self) -> list[Example]:
        return [one for split in SPLITS for one in read_examples(self.run.examples(split))]

    def trained(self) -> list[str]:
        """What stands at the positions with a label, of each row."""
        return [
            self.tokenizer.decode([label for label in row.labels if label != IGNORE_INDEX])
            for row in self.rows()
        ]

    def read(self) -> list[str]:
        """What stands at the positions without a label, of each row."""
        return [
            self.tokenizer.decode(row.input_ids[: row.num_prompt_tokens]) for row in self.rows()
        ]


def test_01_a_bad_answer_of_weight_0_is_read_and_never_trained(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    found = Prepared(
        tmp_path, tiny_model_dir, shared("cases", "01-message-weight", "shop.jsonl"), CHATML
    )
    assert len(found.trained()) == 40
    for trained, read in zip(found.trained(), found.read(), strict=True):
        assert trained.startswith("Yes, the ")
        assert trained.endswith(" is in stock.</s>")
        assert "WRONG" in read


@pytest.mark.parametrize(
    "name, content", [("content", "Let me look."), ("null", ""), ("empty", "")]
)
def test_02_a_tool_call_is_trained_whole_through_a_template_that_writes_it(
    tmp_path: Path, tiny_model_dir: Path, name: str, content: str
) -> None:
    source = shared("cases", "02-tool-calls", f"tools_{name}.jsonl")
    found = Prepared(tmp_path, tiny_model_dir, source, WITH_TOOLS)
    assert len(found.trained()) == 40
    for trained, read in zip(found.trained(), found.read(), strict=True):
        assert trained.startswith(f'{content}<call>{{"name": "stock", "arguments": {{"item": "')
        assert trained.endswith('"}}</s>')
        assert 'Tools: [{"type": "function"' in read


@pytest.mark.parametrize("name", ["content", "null", "empty"])
def test_02_no_half_of_a_tool_call_is_trained_where_the_template_leaves_it_out(
    tmp_path: Path, tiny_model_dir: Path, name: str
) -> None:
    source = shared("cases", "02-tool-calls", f"tools_{name}.jsonl")
    with pytest.raises(DataError) as caught:
        Prepared(tmp_path, tiny_model_dir, source, CHATML)
    assert str(caught.value).startswith(
        f"40 of 40 rows rejected (100.0%), data.max_rejected is 1.0%: chat_template 40 ({source}:1,"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("template, before", [(CHATML, ""), ("", " ")])
def test_04_the_blanks_that_code_begins_with_are_trained(
    tmp_path: Path, tiny_model_dir: Path, template: str, before: str
) -> None:
    """`before` is the space of our own plain chat template, for models that have none."""
    source = shared("cases", "04-code-indent", "code.jsonl")
    found = Prepared(tmp_path, tiny_model_dir, source, template)
    answers = [json.loads(line)["completion"] for line in source.read_text().splitlines()]
    assert all(answer.startswith("    total = ") for answer in answers)
    assert set(found.trained()) == {f"{before}{answer}</s>" for answer in answers}


def test_07_no_two_rows_of_a_table_with_stray_quotes_become_one(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    folder = shared("cases", "07-tsv-quotes")
    for number, name in enumerate(("q.tsv", "open.tsv", "merge.tsv")):
        (tmp_path / f"{number}").mkdir()
        found = Prepared(tmp_path / f"{number}", tiny_model_dir, folder / name, "", task="classify")
        assert len(found.examples()) == 60
        assert {e.completion for e in found.examples()} == {"good", "bad"}
        assert not any("\t" in e.prompt for e in found.examples())
    with pytest.raises(DataError, match=r"merge\.csv:7: a quote opens in this line"):
        Prepared(tmp_path, tiny_model_dir, folder / "merge.csv", "", task="classify")


def test_09_only_the_row_with_half_a_pair_is_refused(tmp_path: Path, tiny_model_dir: Path) -> None:
    source = shared("cases", "09-lone-surrogate", "emoji.jsonl")
    with pytest.raises(
        DataError, match=r"emoji\.jsonl:8: half of a surrogate pair in a text\nhint"
    ):
        Prepared(tmp_path, tiny_model_dir, source, "", task="classify")
    found = Prepared(tmp_path, tiny_model_dir, source, "", task="classify", max_rejected=0.02)
    assert len(found.examples()) == 59


def test_09_score_names_the_row_with_half_a_pair(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(shared("cases", "09-lone-surrogate", "score.jsonl"))
    arguments = ("score", path, "--reference", "gold", "--prediction", "a=a")
    assert exit_code_of(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {path}:1: half of a surrogate pair in a text")
    assert "Traceback" not in said


def test_22_the_files_of_a_folder_are_its_splits(tmp_path: Path, tiny_model_dir: Path) -> None:
    source = shared("cases", "22-folder-splits", "data")
    found = Prepared(tmp_path, tiny_model_dir, source, "", task="classify")
    splits = read_json(found.run.ledger)["splits"]
    assert [splits[split]["rows"] for split in SPLITS] == [60, 12, 12]


def test_24_chinese_summaries_need_a_metric_that_can_score_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tiny_model_dir: Path,
) -> None:  # fmt: skip
    source = str(shared("cases", "24-chinese-summaries", "zh.jsonl"))
    arguments = (
        "prepare", source, "data.task=summarise", "data.columns={target: summary}",
        f"model={tiny_model_dir}", f"output_dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert exit_code_of(monkeypatch, *arguments) == 2
    assert "hint: use chrf: evaluation.metrics=[chrf]" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert exit_code_of(monkeypatch, *arguments, "evaluation.metrics=[chrf]") == 0


@pytest.mark.parametrize("name", ["cols.json", "pandas_cols.json", "pretty.json", "pretty.jsonl"])
def test_25_every_shape_of_json_has_the_same_rows(
    tmp_path: Path, tiny_model_dir: Path, name: str
) -> None:
    source = shared("cases", "25-json-shapes", name)
    found = Prepared(tmp_path, tiny_model_dir, source, "", task="classify")
    assert len(found.examples()) == 40
    assert {e.completion for e in found.examples()} == {"a", "b"}


def test_25_a_null_is_named_by_its_line(tmp_path: Path, tiny_model_dir: Path) -> None:
    source = shared("cases", "25-json-shapes", "pretty_null.json")
    assert json.loads(source.read_text())[11]["text"] is None
    line = 2 + 4 * 11  # a bracket, then four lines a row
    with pytest.raises(DataError, match=rf"the slot 'text' is empty 1 \(.*_null\.json:{line}\)"):
        Prepared(tmp_path, tiny_model_dir, source, "", task="classify")


def test_25_the_answer_after_a_tools_message_is_trained(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    source = shared("cases", "25-json-shapes", "toolrole.jsonl")
    found = Prepared(tmp_path, tiny_model_dir, source, WITH_TOOLS)
    calls = [text for text in found.trained() if text.startswith("<call>")]
    assert len(calls) == 40
    assert {t for t in found.trained() if t not in calls} == {f"Five.{i}</s>" for i in range(40)}


def test_27_a_spreadsheets_table_is_read_and_what_was_recognised_is_said(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    columns = {"text": "Text", "label": "Label"}
    source = shared("cases", "27-excel-semicolon", "de.csv")
    found = Prepared(tmp_path, tiny_model_dir, source, "", task="classify", columns=columns)
    assert sum("Die Tür " in e.prompt for e in found.examples()) > 0
    notes = " ".join(read_json(found.run.ledger)["notes"])
    assert "not utf-8, read as cp1252" in notes
    assert "read with semicolons" in notes


def indicators(gold: list[list[str]], found: list[list[str]]) -> tuple[Any, Any]:
    binarizer = MultiLabelBinarizer().fit([*gold, *found])
    return binarizer.transform(gold), binarizer.transform(found)


@pytest.mark.parametrize("column", ["list_pred", "text_pred", "half_pred"])
def test_28_sets_of_labels_are_scored_as_scikit_learn_does(column: str) -> None:
    path = shared("cases", "28-score-multilabel", "ml.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    texts = [row[column] for row in rows]
    sets = [text if isinstance(text, list) else text.split(", ") for text in texts]
    result = score_file(path, "gold", {"p": column}, resamples=50)
    means = {name: value["mean"] for name, value in result["metrics"]["p"].items()}
    gold, found = indicators([row["gold"] for row in rows], sets)
    assert means["exact_set"] == pytest.approx(np.mean((gold == found).all(axis=1)))
    assert means["jaccard"] == pytest.approx(jaccard_score(gold, found, average="samples"))
    assert means["multilabel_micro_f1"] == pytest.approx(f1_score(gold, found, average="micro"))
    assert means["multilabel_macro_f1"] == pytest.approx(f1_score(gold, found, average="macro"))


def test_28_the_order_of_labels_in_a_text_is_no_mistake() -> None:
    path = shared("cases", "28-score-multilabel", "ml_text.csv")
    result = score_file(
        path, "gold", {"same": "same", "swapped": "swapped"}, ["exact_set"], resamples=50
    )
    for system in ("same", "swapped"):
        assert result["metrics"][system]["exact_set"]["mean"] == 1.0


@pytest.mark.parametrize("name, examples", [("multi.jsonl", 80), ("pc.jsonl", 60)])
def test_30_ids_are_the_templates_own_with_a_bos_in_each_turn(
    tmp_path: Path, tiny_model_dir: Path, name: str, examples: int
) -> None:
    folder = shared("cases", "30-bos-per-turn")
    template = (folder / "llama2.jinja").read_text()
    found = Prepared(tmp_path, tiny_model_dir, folder / name, template)
    rows = dict(zip((e.id for e in found.examples()), found.rows(), strict=True))
    assert len(rows) == examples
    for example in found.examples():
        turns = [{"role": t.role, "content": t.content} for t in example.history]
        turns.append({"role": "user", "content": example.prompt})
        whole = [*turns, {"role": "assistant", "content": example.completion}]
        ids = found.tokenizer.apply_chat_template(whole, tokenize=True, return_dict=False)
        assert rows[example.id].input_ids == ids
        assert ids.count(found.tokenizer.bos_token_id) == (len(whole) + 1) // 2
