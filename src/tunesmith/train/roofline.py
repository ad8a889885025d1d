"""The least work a data set is on a model, and the time it takes at a machine's measured rates.

A roofline bound (Williams et al. 2009): a step takes at least max(FLOPs / matmul rate, bytes /
bandwidth). For one optimiser step, with every shared prefix computed once and only trained
positions in the head:

    FLOPs = 6 * trunk * unique tokens
          + 6 * head * trained tokens
          + 12 * query width * sum over attention layers and unique tokens of the tokens attended to
    bytes = 40 * parameters

6 = 2 for a multiply and an add, three times: forward, and the gradients of inputs and of weights.
12 is the same for attention's two products, queries by keys and probabilities by values. Unique
tokens are the nodes of the trie of the step's rows. 40 bytes: float32 weights read twice, gradients
written, and AdamW, which reads four numbers and writes three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedConfig

from tunesmith.machine import Machine
from tunesmith.models.load import empty_model
from tunesmith.train.loss import input_embeddings
from tunesmith.train.packing.plan import (
    Ints,
    TrainingData,
    plan_epoch,
    sorted_by_tokens,
    steps_per_epoch,
)

BYTES_PER_PARAMETER = 40
SAMPLED_STEPS = 500


@dataclass(frozen=True)
class ModelSize:
    """What the bound needs to know of a model.

    `trunk` and `head` count the parameters in matrix products; `query_width` is heads * head size
    of a layer, and `windows` has, for each attention layer, how many tokens it attends to at most.
    """

    parameters: int
    trunk: int
    head: int
    query_width: int
    windows: tuple[int, ...]


@dataclass(frozen=True)
class Limit:
    """The bound for a whole training, on the machine whose rates were given.

    `seconds` is the least time. `raw_tokens` are all tokens of all epochs, `unique_tokens` what is
    left of them when shared prefixes are computed once, `trained_tokens` those with a loss.
    """

    flops: float
    bytes: float
    seconds: float
    unique_tokens: float
    trained_tokens: int
    raw_tokens: int


def lower_bound(
    data: TrainingData,
    size: ModelSize,
    machine: Machine,
    *,
    batch_size: int,
    epochs: int,
    seed: int = 0,
) -> Limit:
    """The bound for `epochs` passes over the rows.

    An epoch of more than 500 steps is extrapolated from its first 500, which are a random sample.
    """
    steps = steps_per_epoch(len(data), batch_size)
    works = []
    for step in plan_epoch(
        data,
        seed=seed,
        epoch=0,
        batch_size=batch_size,
        max_batch_tokens=1 << 40,
        share_prefixes=False,
    ):
        works.append(_step_work(data, step.rows, size))
        if len(works) == SAMPLED_STEPS:
            break
    scale = epochs * steps / len(works)
    bytes_per_step = size.parameters * BYTES_PER_PARAMETER
    times = [
        max(flops / machine.flops_per_second, bytes_per_step / machine.bytes_per_second)
        for flops, _ in works
    ]
    return Limit(
        flops=scale * sum(flops for flops, _ in works),
        bytes=float(epochs * steps * bytes_per_step),
        seconds=scale * sum(times),
        unique_tokens=scale * sum(unique for _, unique in works),
        trained_tokens=epochs * int(data.num_trained.sum()),
        raw_tokens=epochs * int(data.lengths.sum()),
    )


def model_size(config: PreTrainedConfig, trust_remote_code: bool = False) -> ModelSize:
    """Sizes of a causal LM, from its config alone.

    Of a mixture of experts, `trunk` counts the experts that one token goes through.
    """
    model = empty_model(config, trust_remote_code)
    text = config.get_text_config()
    embedding = input_embeddings(model).weight
    active = _active_share_of_experts(text)
    trunk = sum(
        p.numel() * (active if ".experts." in name else 1.0)
        for name, p in model.get_decoder().named_parameters()
        if p.ndim >= 2 and p is not embedding
    )
    width = _query_width(text)
    layers = getattr(text, "layer_types", None) or ["full_attention"] * (
        text.num_hidden_layers if width else 0
    )
    window = getattr(text, "sliding_window", None) or 1 << 60
    return ModelSize(
        parameters=sum(p.numel() for p in model.parameters()),
        trunk=int(trunk),
        head=model.get_output_embeddings().weight.numel(),
        query_width=width,
        windows=tuple(
            window if kind == "sliding_attention" else 1 << 60
            for kind in layers
            if kind.endswith("attention") and kind != "linear_attention"
        ),
    )


def _query_width(config: PreTrainedConfig) -> int:
    """Heads * head size, the smallest of all layers (Gemma 4's differ).

    0 for a state-space model, which has no heads.
    """
    layers = (
        getattr(config, "per_layer_config", None) if hasattr(config, "num_hidden_layers") else None
    )
    widths = []
    for layer in layers or [config]:
        heads = getattr(layer, "num_attention_heads", 0)
        widths.append(
            heads * (getattr(layer, "head_dim", None) or layer.hidden_size // heads) if heads else 0
        )
    return int(min(widths))


def _step_work(data: TrainingData, rows: Ints, size: ModelSize) -> tuple[float, int]:
    """FLOPs of one step, and its unique input tokens.

    In the order of their token ids, a row shares with the rows before it exactly what it shares
    with the one just before: these are the nodes of the trie that are there already.
    """
    in_order, shared = sorted_by_tokens(data, rows)
    inputs = data.lengths_of(in_order) - 1
    attended = {
        window: _attended(inputs, window) - _attended(shared, window)
        for window in set(size.windows)
    }
    unique = int((inputs - shared).sum())
    attention = (
        12 * size.query_width * sum(float(attended[window].sum()) for window in size.windows)
    )
    trained = int(data.trained_of(rows).sum())
    return 6.0 * size.trunk * unique + 6.0 * size.head * trained + attention, unique


def _attended(lengths: Ints, window: int) -> Ints:
    """For each length n, the tokens that a row's first n tokens attend to in all: 1 + 2 + ... + n.

    Each attends to itself and those before it, at most `window`.
    """
    inside = np.minimum(lengths, window)
    total: Ints = inside * (inside + 1) // 2 + (lengths - inside) * window
    return total


def _active_share_of_experts(config: PreTrainedConfig) -> float:
    used = getattr(config, "num_experts_per_tok", None)
    total = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    return used / total if used and total else 1.0
