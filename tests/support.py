"""Small things many tests share: a tiny tokenizer, tiny models, and where the shared data lie."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tunesmith import cli, stages
from tunesmith.chat.format import chat_format, complete_tokenizer
from tunesmith.data.store import read_token_arrays
from tunesmith.models.save import save_model
from tunesmith.recipe import build_recipe
from tunesmith.records import IGNORE_INDEX, Example, TokenizedExample
from tunesmith.run_files import (
    Artefact,
    read_artefacts,
    read_manifest,
    write_artefacts,
    write_record,
)
from tunesmith.rundir import RunDir, file_sha256, read_json, write_json
from tunesmith.train.packing.plan import TrainingData


def shared(*parts: str) -> Path:
    """A path in the shared folder beside the repository; the test is skipped where it is absent."""
    root = Path(os.environ.get("TUNESMITH_SHARED", Path(__file__).parents[2] / "shared"))
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no {'/'.join(parts)} beside this checkout")
    return path


def write_rows(path: Path, n: int = 60) -> Path:
    """Rows whose label is given by their first word; a model of two layers learns that in a few
    steps.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [
            (f"{'good' if i % 2 else 'bad'} thing number {i}", "yes" if i % 2 else "no")
            for i in range(n)
        ]
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def byte_tokenizer(bos: bool = True, pad: bool = True, chat_template: str | None = None) -> Any:
    """A byte-level BPE tokenizer without merges: one token a byte, and <s>, </s>, <pad>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<s>", "</s>", "<pad>"]
    inner = Tokenizer(
        models.BPE(vocab={piece: i for i, piece in enumerate(names + alphabet)}, merges=[])
    )
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    if bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>" if pad else None,
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def classify_values(folder: Path, model: Path | str, **train: Any) -> dict[str, Any]:
    """A recipe of written rows, as a table of keys."""
    return {
        "model": str(model),
        "output_dir": str(folder / "run"),
        "data": {
            "source": str(write_rows(folder / "rows.csv")),
            "task": "classify",
            "columns": {"text": "text", "label": "label"},
        },
        "train": {"report_to": [], **train},
    }


def read_tokenized(path: Path) -> list[TokenizedExample]:
    """The token ids of a prepared split, with the labels that training makes of them."""
    input_ids, offsets, prompts, ids = read_token_arrays(path)
    rows = []
    for number, (row_id, n) in enumerate(zip(ids, prompts.tolist(), strict=True)):
        own = input_ids[offsets[number] : offsets[number + 1]].tolist()
        rows.append(TokenizedExample(row_id, own, [IGNORE_INDEX] * n + own[n:], n))
    return rows


def tiny_llama(vocab_size: int = 259, positions: int = 512, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def made_data(num_rows: int = 10, seed: int = 0, shared: int = 12) -> TrainingData:
    """Rows of `shared` common tokens and 3 to 11 own ones, of which the last 1 to 3 are trained."""
    random = np.random.default_rng(seed)
    start = np.random.default_rng(0).integers(3, 259, shared)
    rows = [
        np.concatenate([start, random.integers(3, 259, random.integers(3, 12))])
        for _ in range(num_rows)
    ]
    trained = random.integers(1, 4, num_rows)
    lengths = np.array([len(row) for row in rows])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return TrainingData.from_arrays(
        np.concatenate(rows), offsets, lengths - trained, [f"r{i}" for i in range(num_rows)]
    )


def save(model: Any, tokenizer: Any, folder: Path, max_new_tokens: int | None = None) -> None:
    """As a run saves its model; the tokenizer is a completed one."""
    save_model(model, tokenizer, folder, chat_format(tokenizer).stop_ids(model), max_new_tokens)


def example(
    number: int, prompt: str = "Q", completion: str = "yes", choices: tuple[str, ...] = ()
) -> Example:
    """One of a few that differ by their number."""
    return Example(
        f"e{number}", f"r{number}", "t", f"{prompt}{number}", completion, (completion,), choices
    )


def prepare_source(folder: Path, model: Path, source: Path, **data: Any) -> RunDir:
    """A run folder in `folder` in which the rows of a file are prepared for `classify`."""
    values = {
        "model": str(model),
        "data": {"source": str(source), "task": "classify", **data},
        "output_dir": str(folder / "run"),
    }
    stages.prepare.prepare(build_recipe(values)[0])
    return RunDir(folder / "run")


def list_again(run: RunDir) -> None:
    """As if all that is listed had just been made: for a test that changes a file on purpose."""
    listed = [name for name in read_artefacts(run) if (run.path / name).exists()]
    write_artefacts(run, {name: Artefact(file_sha256(run.path / name)) for name in listed})


def as_older(run: RunDir) -> None:
    """Make a run folder what an older tunesmith wrote, which kept no list of artefacts."""
    run.artefacts.unlink()
    write_record(run.manifest, replace(read_manifest(run), artefacts=False))
    seal = read_json(run.seal)
    del seal["own_sha256"]
    write_json(run.seal, seal)


def plain_chat() -> Any:
    """The format of a tokenizer that brought no chat template."""
    tokenizer = byte_tokenizer()
    complete_tokenizer(tokenizer)
    return chat_format(tokenizer)


def exit_code_of(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    """A command's exit code, as a shell sees it."""
    monkeypatch.setattr("sys.argv", ["tunesmith", *args])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
