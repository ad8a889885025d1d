"""The plan of a training's memory: parameters by hand, the peak beside that of a real training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from memory_on_ranks import config, rows
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    PreTrainedConfig,
    Qwen3Config,
)

from tunesmith.models.four_bit import pack_empty, packed_bytes
from tunesmith.models.load import empty_model
from tunesmith.recipe import LoraConfig, TrainConfig, build_recipe
from tunesmith.rundir import RunDir
from tunesmith.train import peak
from tunesmith.train.adapters import wrap_lora
from tunesmith.train.live_memory import LiveMemory
from tunesmith.train.loop import train
from tunesmith.train.memory_plan import MemoryPlan, Place, changes, plan_memory
from tunesmith.train.settings import micro_batches

IN_BACKWARD = {"optim_in_backward": True, "max_grad_norm": 0.0}
STATES, KEPT = {"offload_optimizer": "disk"}, {"offload_activations": "disk"}
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ROOM = 1 << 40


def llama(layers: int = 2, **keys: Any) -> LlamaConfig:
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 160,
        "vocab_size": 2000,
    }
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaConfig(num_hidden_layers=layers, **sizes | heads | keys)


def planned(model: PreTrainedConfig, place: Place | None = None, **keys: Any) -> MemoryPlan:
    return plan_memory(model, rows(), config(**keys), place or Place(CPU, ROOM))


# ---- parameters of published configs


def test_the_parameters_of_llama_3_1_8b_worked_out_by_hand() -> None:
    model = LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, tie_word_embeddings=False,
    )  # fmt: skip
    embeddings_and_head = 2 * 128_256 * 4096
    attention = 2 * 4096 * 4096 + 2 * 4096 * 8 * 128
    layer = attention + 3 * 4096 * 14_336 + 2 * 4096
    expected = embeddings_and_head + 32 * layer + 4096
    assert parameters(model) == expected == 8_030_261_248


def qwen3(hidden: int, layers: int, heads: int, feed_forward: int, tied: bool) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=151_936, hidden_size=hidden, intermediate_size=feed_forward,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=8, head_dim=128,
        tie_word_embeddings=tied,
    )  # fmt: skip


def test_the_parameters_of_qwen3_0_6b_worked_out_by_hand() -> None:
    attention = 2 * 1024 * (16 * 128) + 2 * 1024 * (8 * 128) + 2 * 128  # two norms of heads
    layer = attention + 3 * 1024 * 3072 + 2 * 1024
    expected = 151_936 * 1024 + 28 * layer + 1024  # embeddings and head are one matrix
    assert parameters(qwen3(1024, 28, 16, 3072, tied=True)) == expected == 596_049_920


def test_the_parameters_of_qwen3_32b_worked_out_by_hand() -> None:
    attention = 2 * 5120 * (64 * 128) + 2 * 5120 * (8 * 128) + 2 * 128
    layer = attention + 3 * 5120 * 25_600 + 2 * 5120
    expected = 2 * 151_936 * 5120 + 64 * layer + 5120
    assert parameters(qwen3(5120, 64, 64, 25_600, tied=False)) == expected == 32_762_123_264


def test_the_parameters_of_gemma_3_270m_worked_out_by_hand() -> None:
    model = Gemma3TextConfig(
        vocab_size=262_144, hidden_size=640, intermediate_size=2048, num_hidden_layers=18,
        num_attention_heads=4, num_key_value_heads=1, head_dim=256,
    )  # fmt: skip
    attention = 2 * 640 * (4 * 256) + 2 * 640 * 256 + 2 * 256
    layer = attention + 3 * 640 * 2048 + 4 * 640
    expected = 262_144 * 640 + 18 * layer + 640
    assert parameters(model) == expected == 268_098_176


def parameters(model: PreTrainedConfig) -> int:
    return sum(p.numel() for p in empty_model(model).parameters())


# ---- the peak


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"dtype": "bfloat16"},
        {"gradient_checkpointing": True},
        {"optim": "adafactor"},
        {"optim": "muon"},
        {"lora": LoraConfig(r=4)},
        {"max_batch_tokens": 128},  # several micro-batches a step
        {"neftune_noise_alpha": 5.0},  # padded rows
        {"label_smoothing_factor": 0.1},
        IN_BACKWARD,
        STATES,
        STATES | {"optim": "muon"},
        KEPT,
        KEPT | {"dtype": "bfloat16"},
        IN_BACKWARD | STATES | KEPT,
        IN_BACKWARD | STATES | KEPT | {"gradient_checkpointing": True},
        IN_BACKWARD | STATES | KEPT | {"max_batch_tokens": 128},
    ],
    ids=lambda keys: " ".join(keys) or "as it is",
)
@pytest.mark.parametrize("tied", [True, False])
def test_what_is_planned_to_be_alive_is_alive_in_a_training(
    tmp_path: Path, tied: bool, keys: dict[str, Any]
) -> None:
    """The same counter watches a real training of the same rows: all but what a heap adds."""
    shape, wanted = llama(tie_word_embeddings=tied), config(**keys)
    found = plan_memory(shape, rows(), wanted, Place(CPU, ROOM)).peak
    model = AutoModelForCausalLM.from_config(shape, dtype=torch.float32)
    if wanted.lora is not None:
        model = wrap_lora(model, wanted.lora, wanted.seed)
    with LiveMemory(0, lambda _: None) as live:
        for tensor in (*model.parameters(), *model.buffers()):
            live.see(tensor)
        train(model, rows(), wanted, run=RunDir(tmp_path))
    assert found.total - found.holes == pytest.approx(live.highest, rel=0.02)


def test_weights_gradients_and_states_of_adamw_by_hand() -> None:
    model = llama(12, tie_word_embeddings=False, vocab_size=20_000)
    found = planned(model, Place(CUDA, ROOM), gradient_checkpointing=True)
    number = parameters(model)
    # four bytes each, and the rotary table; with few activations the update is the worst moment
    assert number * 4 <= found.peak.weights < number * 4 + 1000
    assert found.peak.optimizer == pytest.approx(8 * number, rel=0.001)
    assert (found.parameters, found.trained) == (number, number)
    assert found.checkpoint_bytes == 12 * number


@pytest.mark.parametrize("keys", [{}, {"gradient_checkpointing": True}])
def test_a_deep_model_is_planned_from_shallow_ones(
    keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(CUDA, ROOM)
    drawn = planned(llama(7), place, **keys).peak
    monkeypatch.setattr(peak, "DEPTHS", (2, 7))
    whole = planned(llama(7), place, **keys).peak
    assert drawn.total == pytest.approx(whole.total, rel=0.005)


def test_layers_that_are_not_alike_are_planned_at_their_real_depth() -> None:
    kinds = ["full_attention", "sliding_attention"] * 3
    model = Gemma3TextConfig(
        vocab_size=2000, hidden_size=64, intermediate_size=160, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, layer_types=kinds,
        sliding_window=16,
    )  # fmt: skip
    found = planned(model)
    assert found.peak.activations > 0
    assert not found.settings.padded


def test_four_bits_take_half_a_byte_and_their_constants() -> None:
    # 4,096 weights: 2,048 bytes, 64 constants of a byte, and one of four for these
    assert packed_bytes(4096) == 2048 + 64 + 4
    model = empty_model(llama(2))
    linear = sum(
        packed_bytes(part.weight.numel())
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear) and name != "lm_head"
    )
    rest = 4 * sum(p.numel() for name, p in model.named_parameters() if "proj" not in name)
    pack_empty(model)
    found = sum(p.numel() * p.element_size() for p in model.parameters())
    assert found == linear + rest


def test_adapters_on_four_bits_are_planned() -> None:
    place, lora = Place(CUDA, ROOM), LoraConfig(r=4)
    plain = planned(llama(hidden_size=256), place, lora=lora, dtype="bfloat16")
    four = lora.model_copy(update={"load_in_4bit": True})
    packed = planned(llama(hidden_size=256), place, lora=four, dtype="bfloat16")
    assert packed.parameters == plain.parameters
    assert packed.trained == plain.trained
    # a layer's queries and output; keys and values; the three matrices of its feed-forward part
    sizes = [256 * 256] * 2 + [256 * 128] * 2 + [256 * 160] * 3
    saved = 2 * sum(4 * size - packed_bytes(size) for size in sizes)
    assert plain.peak.weights - packed.peak.weights == saved
    assert packed.peak.activations < plain.peak.activations  # no copies of weights in bfloat16


def test_a_training_fits_exactly_into_what_it_takes() -> None:
    found = planned(llama(), Place(CPU, ROOM, libraries=1000), max_batch_tokens=64)
    assert found.total == found.peak.total + 1000
    for more, fits in ((0, True), (-1, False)):
        place = Place(CPU, found.total + more, libraries=1000)
        again = planned(llama(), place, max_batch_tokens=64, gradient_checkpointing=False)
        assert (again.total, again.fits) == (found.total, fits)


def test_what_is_away_by_hand() -> None:
    model = llama(12, tie_word_embeddings=False, vocab_size=20_000)
    keys = {"gradient_checkpointing": True, "max_batch_tokens": 1 << 20}
    plain = planned(model, Place(CUDA, ROOM), **keys)
    number, place = parameters(model), Place(CUDA, ROOM)
    states = planned(model, place, **keys, **STATES).peak
    assert (plain.peak.states_away, plain.peak.kept_away) == (0, 0)
    assert states.states_away == 8 * number  # two numbers a weight
    assert states.optimizer < 1000
    # Of a micro-batch of 8 rows of 64 tokens: the input of each of the 12 layers; the last
    # layer's output and its mean square; and of the 8 x 32 trained tokens what the head keeps.
    # Rows share nothing.
    tokens, layer = 8 * 64, 8 * 64 * 64 * 4
    kept = planned(model, place, **keys, **KEPT).peak.kept_away
    assert 12 * layer < kept < 15 * layer + 8 * tokens


def test_gradients_that_are_freed_one_by_one_by_hand() -> None:
    model = llama(12, tie_word_embeddings=False, vocab_size=20_000)
    keys = {"gradient_checkpointing": True, "train_batch_size": 1}
    number, place = parameters(model), Place(CUDA, ROOM)
    plain = planned(model, place, **keys).peak
    assert plain.total >= 16 * number
    stepped = planned(model, place, **keys, **IN_BACKWARD).peak
    # twelve bytes a weight, and the gradient of the head or of the embeddings at a time
    largest, logits = 20_000 * 64 * 4, 32 * 20_000 * 4
    assert 12 * number + largest <= stepped.total < 12 * number + largest + 4 * logits


def test_weights_kept_in_bfloat16_are_in_float32_for_a_moment() -> None:
    """Which is the worst one where little is kept beside them."""
    keys = {"weights_dtype": "bfloat16", "optim": "adamw_8bit", "gradient_checkpointing": True}
    model = llama(4, hidden_size=1024, intermediate_size=4096)
    number = parameters(model)
    found = planned(model, Place(CUDA, ROOM), **keys, **IN_BACKWARD, **STATES).peak
    assert 4 * number <= found.total < 4 * number + 2000  # and the rotary table
    assert found.weights == found.total


# ---- changes


EXACT = [
    "train.gradient_checkpointing=true",
    "train.max_batch_tokens=128",
    "train.offload_optimizer=cpu",
    "train.offload_activations=cpu",
]


def test_changes_are_keys_of_recipes_in_the_order_of_their_cost() -> None:
    base = {"data": {"source": "x.csv", "task": "classify"}, "output_dir": "x"}
    found = list(changes(TrainConfig(), CUDA, checkpoints=False, alone=False, longest=128))
    assert [change.keys for change in found] == [
        *EXACT,
        "train.max_grad_norm=0 train.optim_in_backward=true",
        "train.optim=adafactor",
        "train.weights_dtype=bfloat16 train.optim=adamw_8bit",
        "train.lora.r=16 train.weights_dtype=float32 train.optim=adamw",
        "train.lora.load_in_4bit=true",
    ]
    assert [change.keys for change in found if change.exact] == EXACT
    keys: list[str] = []
    for change in found:
        keys += change.keys.split()
        assert build_recipe(base, keys)[0].train == change.changed, change.keys


def test_without_clipping_the_step_in_the_backward_pass_comes_first_for_it_costs_nothing() -> None:
    unclipped = TrainConfig(max_grad_norm=0.0)
    first, *more = changes(unclipped, CPU, checkpoints=True, alone=True, longest=128)
    assert (first.keys, first.exact) == ("train.optim_in_backward=true", True)
    assert [change.keys for change in more if change.exact] == [
        "train.offload_optimizer=disk",
        "train.offload_activations=disk",
    ]
    assert not any("max_grad_norm" in change.keys for change in more)


def test_what_a_recipe_has_already_is_no_change() -> None:
    away = {"offload_optimizer": "disk", "offload_activations": "disk"}
    small = TrainConfig(weights_dtype="bfloat16", optim="adamw_8bit", **away, **IN_BACKWARD)
    found = changes(small, CPU, checkpoints=True, alone=True, longest=128)
    assert [change.keys for change in found] == [
        "train.lora.r=16 train.weights_dtype=float32 train.optim=adamw"
    ]
    packed = TrainConfig(lora=LoraConfig(load_in_4bit=True), **away)
    assert not list(changes(packed, CUDA, checkpoints=True, alone=True, longest=128))


# ---- train.fit


def cut(memory: int, **keys: Any) -> tuple[int, bool, list[str]]:
    model = empty_model(llama(4))
    longest, per_token, states = 100, 10_000, 1_000_000
    return micro_batches(model, longest, config(**keys), CPU, "float32", per_token, states, memory)


def test_fit_auto_checkpoints_though_the_recipe_says_no() -> None:
    # 80 % of 2 MB less 1 MB of states: 60 tokens of 10,000 bytes; checkpointed, a token keeps
    # 4 layers * 64 numbers * 4 bytes and a quarter of a layer's 10,000: 600,000 / 3,524 = 170
    assert cut(2_000_000, gradient_checkpointing=False) == (100, False, [])
    tokens, checkpoints, notes = cut(2_000_000, gradient_checkpointing=False, fit="auto")
    assert (tokens, checkpoints) == (170, True)
    assert "gradient checkpointing is on" in notes[0]
    assert cut(2_000_000) == (170, True, [])  # `auto` needs no train.fit


def test_fit_auto_makes_micro_batches_smaller() -> None:
    # 80 % of 10 MB less 1 MB: 700 tokens
    assert cut(10_000_000, max_batch_tokens=5000) == (5000, False, [])
    tokens, checkpoints, notes = cut(10_000_000, max_batch_tokens=5000, fit="auto")
    assert (tokens, checkpoints) == (700, False)
    assert notes == ["train.fit: micro-batches have at most 700 tokens, which fit"]


def test_fit_auto_leaves_what_fits_as_it_is() -> None:
    keys = {"max_batch_tokens": 500, "gradient_checkpointing": False}
    assert cut(10_000_000, fit="auto", **keys) == cut(10_000_000, **keys) == (500, False, [])
