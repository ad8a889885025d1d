"""The peak memory of a training, by part, before a weight is read or a tensor allocated.

The objective, its backward pass and the optimiser run on tensors without numbers
(live_memory.py), with the rows of the largest micro-batch, in the attention and number formats that
a run takes. What is alive at the worst moment is the peak; nothing is known of any architecture.

A deep model is run with two layers and with three, and every part is drawn through both numbers to
its real depth. That is exact within three stretches of a step, in which what is alive is linear in
the number of layers: up to the gradient that leaves the last layer, from the one that reaches the
first on, and the optimiser's step. Between the first two, each layer gives its activations back and
adds its gradients, always as many, so that the most is at one of the ends. Layers that are not all
of one shape are run at their real depth.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedConfig, PreTrainedModel

from tunesmith.models.four_bit import pack_empty
from tunesmith.models.load import empty_model
from tunesmith.recipe import TrainConfig
from tunesmith.train.adapters import unwrap_peft, wrap_lora
from tunesmith.train.live_memory import LiveMemory, without_numbers
from tunesmith.train.loss import (
    Objective,
    Parts,
    add_lookups_in_place,
    input_embeddings,
    likelihood_objective,
    split_as_declared,
)
from tunesmith.train.malloc import Heap
from tunesmith.train.memory import (
    WEIGHT_BYTES,
    activation_bytes,
    checkpoint_layers,
    made_rows,
)
from tunesmith.train.optim import OPTIMIZERS, build_optimizers
from tunesmith.train.packing.attention import packing
from tunesmith.train.packing.tensors import Batch, Packed
from tunesmith.train.settings import MEASURED_TOKENS, Settings, keep_in_weights_dtype

DEPTHS = (2, 3)
HEAP_DEPTHS = (5, 10)
"""Layers of the models that are run where the heap is followed, whose holes need some to settle."""
CPU = torch.device("cpu")
START, MIDDLE, END, UPDATE = range(4)  # the stretches of a step, in their order


@dataclass(frozen=True)
class Peak:
    """Bytes at the worst moment of a training, by what they are for.

    `logits` are those of the head, with their gradients and its copies; `activations` everything
    else that the passes keep or use for a moment. `holes` are what malloc.py knows of, on a CPU.
    Of several processes, `gathered` are whole weights of a sharded model and their gradients.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    holes: int = 0
    gathered: int = 0

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class _Found:
    """Of one depth: the worst moment of each stretch, and how large the heap was at most."""

    layers: int
    stretches: dict[int, Peak]
    heap: int

    def deeper(self, other: _Found, layers: int) -> _Found:
        """Every number drawn through that of this depth and that of the `other` to `layers`."""

        def drawn(a: int, b: int) -> int:
            return max(0, a + (b - a) * (layers - self.layers) // (other.layers - self.layers))

        stretches = {
            name: Peak(*map(drawn, _numbers(peak), _numbers(other.stretches[name])))
            for name, peak in self.stretches.items()
            if name != MIDDLE
        }
        return _Found(layers, stretches, drawn(self.heap, other.heap))


def _numbers(peak: Peak) -> tuple[int, ...]:
    return tuple(getattr(peak, field.name) for field in fields(peak))


def planned_peak(
    config: PreTrainedConfig,
    train: TrainConfig,
    settings: Settings,
    batch: Callable[[], Batch],
    accumulates: bool,
    device: torch.device,
    trust_remote_code: bool = False,
) -> Peak:
    """The peak of a training whose largest micro-batch is `batch()`, on a device of this type.

    `accumulates`: a step has several micro-batches, so that gradients are there before the largest.
    """
    heaps = device.type == "cpu" and platform.libc_ver()[0] == "glibc"
    depths = HEAP_DEPTHS if heaps else DEPTHS
    found = [
        _stretches(model, train, settings, device, batch, accumulates, Heap() if heaps else None)
        for model in at_depths(config, train, depths, trust_remote_code)
    ]
    layers = config.get_text_config().num_hidden_layers
    whole = found[0] if len(found) == 1 else found[0].deeper(found[1], layers)
    worst = max(whole.stretches.values(), key=lambda peak: peak.total)
    return replace(worst, holes=max(0, whole.heap - worst.total))


def planned_activation_bytes(
    config: PreTrainedConfig,
    train: TrainConfig,
    num_tokens: int,
    padded: bool,
    dtype: str,
    trust_remote_code: bool = False,
) -> int:
    """What `activation_bytes` measures on the model itself, of a model without numbers."""
    found = []
    for model in at_depths(config, train, DEPTHS, trust_remote_code):
        with without_numbers():
            parts = _parts(model, train)
            with LiveMemory(0, lambda _: None):
                found.append(
                    activation_bytes(
                        parts, num_tokens, padded, getattr(torch, dtype), _objective(train)
                    )
                )
    layers = int(config.get_text_config().num_hidden_layers)
    return found[0] + (found[-1] - found[0]) * (layers - DEPTHS[0])


def at_depths(
    config: PreTrainedConfig,
    train: TrainConfig,
    depths: tuple[int, int],
    trust_remote_code: bool = False,
) -> list[PreTrainedModel]:
    """The empty model with as many layers each; the whole one where that is no deeper, or where its
    layers are not alike.
    """
    whole = trainable(empty_model(copy.deepcopy(config), trust_remote_code), train)
    layers = _layers(whole)
    shapes = {tuple(p.shape for p in layer.parameters()) for layer in layers}
    if len(layers) <= depths[-1] or len(shapes) != 1:
        return [whole]
    return [
        trainable(_cut(empty_model(copy.deepcopy(config), trust_remote_code), depth), train)
        for depth in depths
    ]


def trainable(model: PreTrainedModel, train: TrainConfig) -> PreTrainedModel:
    """An empty model with the adapters and in the number formats that the recipe trains."""
    model = model.float()
    if train.lora is not None:
        if train.lora.load_in_4bit:
            pack_empty(model)
        with torch.random.fork_rng(devices=()):
            model = wrap_lora(model, train.lora, train.seed)
    return model


def _layers(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The decoder's layers; an empty list where there is no one list of as many as it has."""
    decoder = split_as_declared(model).decoder
    number = decoder.config.get_text_config().num_hidden_layers
    for part in decoder.children():
        if isinstance(part, torch.nn.ModuleList) and len(part) == number:
            return part
    return torch.nn.ModuleList()


def _cut(model: PreTrainedModel, depth: int) -> PreTrainedModel:
    del _layers(model)[depth:]
    config: Any = model.config.get_text_config()
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:depth]
    config.num_hidden_layers = depth
    return model


def _objective(train: TrainConfig) -> Objective:
    return likelihood_objective(train.label_smoothing_factor)


def _parts(model: PreTrainedModel, train: TrainConfig) -> Parts:
    """The model as a run takes it apart, its tensors without numbers."""
    model.to_empty(device=CPU)
    unwrap_peft(model).tie_weights()  # which to_empty has taken apart
    parts = split_as_declared(model)
    # A sparse gradient leaves padding out, and how much of it there is only numbers tell.
    input_embeddings(parts.model).padding_idx = None
    parts.model.train()
    return parts


# ---- one training, of as many layers as the model has


@dataclass
class _Watch:
    """Keeps what was alive at the worst moment of each stretch."""

    parameters: list[torch.nn.Parameter]
    weights: int
    width: int
    stretch: int = START
    states: int = 0
    wide_at_rest: int = 0

    def __post_init__(self) -> None:
        self.worst: dict[int, Peak] = {}

    def note(self, live: LiveMemory) -> None:
        """There is more alive than ever in this stretch."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        own = sum(size_of(g) for g in gradients)
        wide = sum(size_of(g) for g in gradients if self.width in g.shape)
        logits = max(0, live.wide - self.wide_at_rest - wide)
        rest = live.now - self.weights - self.states - own - logits
        self.worst[self.stretch] = Peak(self.weights, own, self.states, max(0, rest), logits)

    def enter(self, live: LiveMemory, stretch: int) -> None:
        """What comes now belongs to a later stretch. Of two layers the last one's input is the
        first one's output.
        """
        if stretch > self.stretch:
            self.stretch = stretch
            live.start()
            self.note(live)


def size_of(tensor: torch.Tensor) -> int:
    """A tensor's bytes; a sparse one's are those of its numbers."""
    if tensor.layout != torch.strided:
        tensor = tensor._values()
    return tensor.numel() * tensor.element_size()


@dataclass(frozen=True)
class _Subject:
    """What is run: a model without numbers, taken apart, how the recipe trains it, and where."""

    model: PreTrainedModel
    parts: Parts
    train: TrainConfig
    settings: Settings
    heap: Heap | None

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]


def _stretches(
    model: PreTrainedModel,
    train: TrainConfig,
    settings: Settings,
    device: torch.device,
    batch: Callable[[], Batch],
    accumulates: bool,
    heap: Heap | None,
) -> _Found:
    """The worst moments of a step that is not the first, by stretch."""
    with without_numbers():
        parts = _parts(model, train)
        keep_in_weights_dtype(model, train)
        if device.type == "cpu":
            add_lookups_in_place(parts)
        if settings.gradient_checkpointing:
            checkpoint_layers(parts.model)
        return _watched(_Subject(model, parts, train, settings, heap), batch, accumulates)


def _watched(subject: _Subject, batch: Callable[[], Batch], accumulates: bool) -> _Found:
    model, parameters = subject.model, subject.parameters
    width = model.config.get_text_config().vocab_size
    watch = _Watch(parameters, 0, width)
    with LiveMemory(width, watch.note, subject.heap) as live:
        for tensor in (*model.parameters(), *model.buffers()):
            live.see(tensor)
        if subject.train.merge_with_base:  # which keeps the base's numbers
            live.now += sum(map(size_of, parameters))
        watch.weights, watch.wide_at_rest = live.now, live.wide
        optimizers = _seen_optimizers(subject)
        one_row = made_rows(1, 8, subject.settings.padded, CPU, subject.settings.varlen)
        first = one_row if subject.heap is None else batch()  # which leaves its holes
        if subject.heap is not None:
            _measure(subject)
        _pass(subject, first)
        _update(subject, optimizers)
        live.now += 0 if optimizers else _state_bytes(subject)
        watch.states, watch.wide_at_rest = live.now - watch.weights, live.wide
        if accumulates:
            _pass(subject, first)
        watch.worst.clear()
        live.start()
        watch.note(live)
        marks = _mark_stretches(subject, partial(watch.enter, live))
        _pass(subject, batch())
        for mark in marks:
            mark.remove()
        watch.enter(live, UPDATE)
        _update(subject, optimizers)
    layers = model.config.get_text_config().num_hidden_layers
    return _Found(layers, watch.worst, subject.heap.highest if subject.heap else 0)


def _measure(subject: _Subject) -> None:
    """What a run measures of its model before it trains. The graph's nodes are gone after it, but
    other small objects take their places between the blocks, so that the heap is left with them.
    """
    dtype = getattr(torch, subject.settings.dtype)
    padded, objective = subject.settings.padded, _objective(subject.train)
    activation_bytes(subject.parts, MEASURED_TOKENS, padded, dtype, objective)


def _pass(subject: _Subject, batch: Batch) -> None:
    """A forward and a backward pass, as the loop makes them."""
    with subject.settings.precision(CPU):
        loss = _objective(subject.train)(subject.parts, batch)
    with packing(subject.parts.decoder) if isinstance(batch, Packed) else nullcontext():
        (loss / len(batch.labels_N)).backward()
    if subject.heap is not None:
        subject.heap.end_graph()


def _update(subject: _Subject, optimizers: list[torch.optim.Optimizer]) -> None:
    """Clipping and the optimiser's step; without one, what it would have done to gradients."""
    torch.nn.utils.clip_grad_norm_(subject.parameters, subject.train.max_grad_norm or 1.0)
    for optimizer in optimizers:
        optimizer.step()
    for parameter in subject.parameters:
        parameter.grad = None


def _seen_optimizers(subject: _Subject) -> list[torch.optim.Optimizer]:
    """The recipe's, where it can be run without numbers: torchao's compile themselves."""
    if subject.train.weights_dtype == "bfloat16" or subject.train.optim == "adamw_8bit":
        return []
    return build_optimizers(subject.model, subject.train)


def _state_bytes(subject: _Subject) -> int:
    """Of an optimiser that is not run: without weights and gradients, which are as fine as each
    other.
    """
    dtype = subject.train.weights_dtype
    each = OPTIMIZERS[subject.train.optim].state_bytes[dtype] - 2 * WEIGHT_BYTES[dtype]
    return each * sum(p.numel() for p in subject.parameters)


def _mark_stretches(subject: _Subject, enter: Callable[[int], None]) -> list[RemovableHandle]:
    """Tell when the gradient leaves the last layer, and when it reaches the first."""
    layers = _layers(subject.model)
    if len(layers) < DEPTHS[0]:
        return []

    def on_gradient(tensor: object, stretch: int) -> None:
        if isinstance(tensor, torch.Tensor) and tensor.requires_grad:
            tensor.register_hook(lambda _: enter(stretch))

    def into_last(_: object, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        on_gradient(args[0] if args else kwargs.get("hidden_states"), MIDDLE)

    def out_of_first(_: object, args: object, out: object) -> None:
        on_gradient(out[0] if isinstance(out, tuple) else out, END)

    return [
        layers[-1].register_forward_pre_hook(into_last, with_kwargs=True),
        layers[0].register_forward_hook(out_of_first),
    ]
