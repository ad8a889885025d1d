"""examples/sft_loop.py: it runs, stays short, and labels the same tokens as tunesmith."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from support import byte_tokenizer, shared, tiny_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunesmith.chat.format import chat_format, complete_tokenizer
from tunesmith.data.tokenize import tokenize_examples
from tunesmith.models.load import load_tokenizer
from tunesmith.records import Example, TokenizedExample

SCRIPT = Path(__file__).parents[1] / "examples" / "sft_loop.py"
ROWS = [
    ("Keeps time.", "good"),
    ("Two  spaces,\nand a line", "bad"),
    ("Schön & 良い \t", "not so good"),
    ("{text}", "5"),
]


@pytest.fixture(scope="module")
def loop() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sft_loop", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sft_loop"] = module  # dataclasses looks its module up there
    spec.loader.exec_module(module)
    return module


def write_csv(path: Path) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["note", "mood"])
        writer.writerows(
            [f"day {n} was {mood}", mood] for n in range(20) for mood in ("dull", "fine")
        )
        writer.writerows([["day 0 was dull", "dull"], ["", "dull"], ["no mood", ""]])
    return path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_it_has_fewer_than_200_lines_and_uses_nothing_of_tunesmith() -> None:
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 200
    assert not any(line.startswith(("import tunesmith", "from tunesmith")) for line in lines)


def test_a_run_prints_the_comparison_and_saves_a_model_that_has_changed(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    output = tmp_path / "tuned"
    columns = ["--text", "note", "--label", "mood", "--epochs", "1"]
    made = write_csv(tmp_path / "rows.csv")
    result = run(
        "--csv", str(made), *columns, "--model", str(tiny_model_dir), "--output", str(output)
    )
    assert result.returncode == 0, result.stderr
    assert "43 rows read, 3 left out" in result.stdout
    assert "majority  50.0%" in result.stdout  # 40 rows, two labels of 20: 4 test rows, two of each
    assert "n=4" in result.stdout
    assert (
        "won, 0 lost, p=" in result.stdout
    )  # an untrained base names no label, so nothing can be lost
    tokenizer, tuned = (
        AutoTokenizer.from_pretrained(output),
        AutoModelForCausalLM.from_pretrained(output),
    )
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    assert tuned.generation_config.eos_token_id == tokenizer.eos_token_id == 1
    assert not torch.equal(tuned.lm_head.weight, base.lm_head.weight)


def test_a_missing_column_is_named_before_any_work(loop: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match="no columns 'note' and 'sentiment', only \\['note', 'mood'\\]"
    ):
        loop.read_rows(write_csv(tmp_path / "rows.csv"), "note", "sentiment")


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "bytes with BOS": byte_tokenizer,
    "bytes without BOS": lambda: byte_tokenizer(bos=False),
    "stories260K": lambda: load_tokenizer(str(shared("models", "stories260K"))),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_its_labels_are_those_of_tunesmith(loop: ModuleType, name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    prompts = [loop.PROMPT.format(names="bad, good", text=text) for text, _ in ROWS]
    ours = [
        loop.encode(tokenizer, prompt, label)
        for prompt, (_, label) in zip(prompts, ROWS, strict=True)
    ]
    complete_tokenizer(tokenizer)
    examples = [
        Example("r", "r", "t", prompt, label)
        for prompt, (_, label) in zip(prompts, ROWS, strict=True)
    ]
    for mine, theirs in zip(
        ours, tokenize_examples(examples, chat_format(tokenizer), 1000), strict=True
    ):
        assert isinstance(theirs, TokenizedExample)
        assert (mine.input_ids, mine.labels) == (theirs.input_ids, theirs.labels)


def test_padding_changes_no_loss_and_only_trained_tokens_count(loop: ModuleType) -> None:
    tokenizer, model = byte_tokenizer(), tiny_llama()
    short, long = (
        loop.encode(tokenizer, "a", "b"),
        loop.encode(tokenizer, "a longer prompt", "with its answer"),
    )
    assert (
        loop.num_trained([short, long]) == 3 + 17
    )  # " b</s>" and " with its answer</s>", a token a byte
    together = loop.nll_sum(model.to(loop.DEVICE), [short, long]).item()
    alone = [model(**tensors(example, loop.DEVICE)).loss.item() for example in (short, long)]
    assert together == pytest.approx(3 * alone[0] + 17 * alone[1], rel=1e-5)


def tensors(example: Any, device: str) -> dict[str, torch.Tensor]:
    values = {"input_ids": example.input_ids, "labels": example.labels}
    return {name: torch.tensor([ids], device=device) for name, ids in values.items()}


def test_statistics_match_hand_computation(loop: ModuleType) -> None:
    # 8 of 10: Wilson's interval is (0.8 + z²/20 ± z·sqrt(0.16/10 + z²/400)) / (1 + z²/10), z = 1.96
    assert (
        loop.accuracy("tuned", [True] * 8 + [False] * 2) == "tuned     80.0%  [49.0%, 94.3%]  n=10"
    )
    # 5 won, 0 lost of 10: exact McNemar p = 2 / 2^5 = 0.0625; sd = sqrt(10/9 · 0.25) = 0.527, half
    # = 1.96 · sd / √10
    line = loop.paired([False] * 5 + [True] * 5, [True] * 10)
    assert line == "tuned - base +50.0%  [+17.3%, +82.7%]  5 won, 0 lost, p=0.062"
    assert loop.paired([True, False], [True, False]).endswith("0 won, 0 lost, p=1")
