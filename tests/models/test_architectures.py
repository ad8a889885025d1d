"""docs/architectures.md is true: each architecture of transformers runs as its table says, or is
refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from architecture_checks import CONFIG, Verdict, rows, verdict
from support import byte_tokenizer
from tiny_architectures import MODEL_TYPES, SIZES, tiny_config, tiny_model

from tunesmith.errors import ModelError
from tunesmith.evaluate.caching import Caching, caching
from tunesmith.evaluate.forward import evaluating
from tunesmith.models.architectures import DECODERS, ENCODERS, REASONS, why_refused
from tunesmith.models.load import load_model
from tunesmith.train.loss import split_model
from tunesmith.train.packing.attention import has_dropout
from tunesmith.train.roofline import model_size
from tunesmith.train.settings import settle

DOCS = Path(__file__).parents[2] / "docs" / "architectures.md"
FAST = (
    "llama",
    "qwen3",
    "gemma3_text",
    "gpt2",
    "opt",
    "phi",
    "bloom",
    "mamba",
    "jamba",
    "mixtral",
    "deepseek_v3",
    "lfm2",
    "marian",
    "xlnet",
    "bert",
)

table_of_this_version = pytest.mark.skipif(
    f"transformers {transformers.__version__}," not in DOCS.read_text(encoding="utf-8"),
    reason="the table is of another version of transformers",
)


def documented() -> dict[str, Verdict]:
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| ")
    ]
    return {
        found[0]: Verdict(*found) for found in cells if len(found) == 3 and found[0] in MODEL_TYPES
    }


@table_of_this_version
@pytest.mark.parametrize(
    "model_type",
    [pytest.param(t, marks=[] if t in FAST else [pytest.mark.sweep]) for t in MODEL_TYPES],
)
def test_it_runs_as_the_table_says(model_type: str) -> None:
    expected = documented()[model_type]
    if expected.runs == "not tried":
        pytest.skip(expected.why)
    assert verdict(model_type) == expected


@table_of_this_version
def test_the_table_has_every_model_type() -> None:
    assert set(documented()) == set(MODEL_TYPES)


@table_of_this_version
def test_every_name_that_is_refused_is_one_that_transformers_has() -> None:
    assert {*ENCODERS, *DECODERS, *REASONS} <= set(MODEL_TYPES)


@pytest.mark.parametrize("model_type", sorted(ENCODERS))
def test_an_encoder_is_refused_unless_its_config_makes_it_a_decoder(model_type: str) -> None:
    config = tiny_config(model_type)
    assert why_refused(config) == ""
    config.is_decoder = False
    assert why_refused(config).startswith("an encoder")


def test_an_encoder_is_refused_by_name_when_it_is_loaded(tmp_path: Path) -> None:
    transformers.BertForMaskedLM(
        transformers.BertConfig(**{**SIZES, "is_decoder": False})
    ).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(
        ModelError, match="a bert model cannot be trained as a causal language model: an encoder"
    ):
        load_model(str(tmp_path))


def test_a_model_that_looks_ahead_is_refused_before_the_first_step() -> None:
    config = tiny_config("bert")
    config.is_decoder = False
    model = transformers.BertLMHeadModel(config)
    with pytest.raises(ModelError, match=r"BertLMHeadModel \(bert\) is not causal"):
        settle(split_model(model), rows(), CONFIG, torch.device("cpu"))


def test_a_model_that_needs_more_than_token_ids_is_refused_before_the_first_step() -> None:
    model = tiny_model("llama")
    forward = model.forward

    def with_pixels(
        input_ids: torch.Tensor, pixel_values: torch.Tensor | None = None, **inputs: Any
    ) -> Any:
        if pixel_values is None:
            raise ValueError("pixel_values cannot be None")
        return forward(input_ids=input_ids, **inputs)

    parts = split_model(model)
    model.forward = with_pixels
    with pytest.raises(
        ModelError, match="cannot be run on token ids alone: pixel_values cannot be None"
    ):
        settle(parts, rows(), CONFIG, torch.device("cpu"))


@pytest.mark.parametrize(
    ("model_type", "expected"),
    [
        ("llama", Caching.SHARES),
        ("bloom", Caching.SHARES),
        ("mpt", Caching.PADS),  # its ALiBi counts padding as tokens
        ("roberta", Caching.DROPS),  # it counts positions from the pad token's number
        ("mamba", Caching.PLACED),
        ("lfm2", Caching.PLACED),
        ("bamba", Caching.PLACED),
        ("openai-gpt", Caching.NONE),
    ],
)
def test_a_cache_is_relied_on_as_far_as_it_is_exact(model_type: str, expected: Caching) -> None:
    model = tiny_model(model_type)
    with evaluating(model) as kind:
        assert caching(model, kind) == expected


@pytest.mark.parametrize("model_type", ["recurrent_gemma", "xlstm", "gemma2"])
def test_a_soft_cap_is_found_where_logits_are_small(model_type: str) -> None:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(
        tiny_config(model_type)
    )  # as at initialisation
    parts = split_model(model)
    assert parts.head is not None
    assert float(parts.scale(torch.tensor([1e6]))) < 100


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("phimoe", "router_jitter_noise"),
        ("bloom", "hidden_dropout"),
        ("gpt_bigcode", "attn_pdrop"),
        ("opt", "layerdrop"),
    ],
)
def test_every_kind_of_noise_of_a_config_is_seen(model_type: str, name: str) -> None:
    model = tiny_model(model_type)
    assert not has_dropout(model)
    setattr(model.config, name, 0.1)
    assert has_dropout(model)


def test_dropout_of_a_head_for_other_tasks_does_not_count() -> None:
    model = tiny_model("gpt2")
    model.config.summary_first_dropout = 0.1
    assert not has_dropout(model)


def test_the_rows_are_of_different_lengths_and_begin_alike() -> None:
    data = rows()
    assert len(set(data.lengths.tolist())) > 6
    assert all(np.array_equal(data.row(row)[:20], data.row(0)[:20]) for row in range(8))


@pytest.mark.parametrize(
    "model_type", ["gemma4_text", "dots3_note_text", "mamba", "blt", "llama", "gpt2"]
)
def test_the_size_of_a_model_is_told_from_its_config(model_type: str) -> None:
    assert model_size(tiny_config(model_type)).trunk > 0
