"""The peak memory of a training, by part, before a weight is read or a tensor allocated.

The objective, its backward pass and the optimiser run on tensors without numbers
(live_memory.py), with the rows of the largest micro-batch, in the attention and number formats that
a run takes. What is alive at the worst moment is the peak; nothing is known of any architecture.

A deep model is run with two layers and with three, and every part is drawn through both numbers to
its real depth. That is exact within stretches in which what is alive is linear in the number of
layers: what a run finds out before it trains, and of a step the forward pass, then all up to the
gradient that leaves the last layer, all from the one that reaches the first on, and the optimiser's
step. While the gradient goes from layer to layer, each gives its activations back and adds its
gradients, always as many, so that the most is at one of the ends. Layers that are not all of one
shape are run at their real depth.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
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
from tunesmith.train.malloc import Heaps
from tunesmith.train.memory import activation_bytes, checkpoint_layers, made_rows
from tunesmith.train.offload import Nowhere
from tunesmith.train.offload_activations import ActivationsAway, staying
from tunesmith.train.packing.attention import packing
from tunesmith.train.packing.tensors import Batch, Packed
from tunesmith.train.planned_update import PlannedUpdate
from tunesmith.train.settings import MEASURED_TOKENS, Settings, keep_in_weights_dtype

DEPTHS = (2, 3)
HEAP_DEPTHS = (5, 10)
"""Layers of the models that are run where the heap is followed, whose holes need some to settle."""
CPU = torch.device("cpu")
PROBE, MEASURE, FORWARD, START, MIDDLE, END, UPDATE = range(7)
"""What a run finds out before it trains: with weights in float32, and then in the format in which
they are trained. The stretches of a step, in their order.
"""


@dataclass(frozen=True)
class Peak:
    """Bytes at the worst moment of a training, by what they are for.

    `logits` are those of the head, with their gradients and its copies; `activations` everything
    else that the passes keep or use for a moment, the state of the one weight that is stepped among
    it where the others' are away. `holes` are what malloc.py knows of, on a CPU. What the recipe
    puts elsewhere is no part of the total: `states_away` and `kept_away`, each at its most.
    Of several processes, `gathered` are whole weights of a sharded model and their gradients.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    holes: int = 0
    states_away: int = 0
    kept_away: int = 0
    gathered: int = 0

    @property
    def total(self) -> int:
        """All parts together that are on the device."""
        return sum(_numbers(self)) - self.states_away - self.kept_away


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
    find = partial(
        _stretches,
        train=train,
        settings=settings,
        device=device,
        batch=batch,
        accumulates=accumulates,
    )
    return worst_moment(config, train, device, trust_remote_code, find)


def worst_moment(
    config: PreTrainedConfig,
    train: TrainConfig,
    device: torch.device,
    trust_remote_code: bool,
    find: Callable[[PreTrainedModel, Heaps | None], _Found],
) -> Peak:
    """The highest of the stretches that `find` gives of a model, drawn to the real depth. The heap
    is followed where the device has glibc's.
    """
    heaps = device.type == "cpu" and platform.libc_ver()[0] == "glibc"
    depths = HEAP_DEPTHS if heaps else DEPTHS
    found = [
        find(model, Heaps() if heaps else None)
        for model in at_depths(config, train, depths, trust_remote_code)
    ]
    layers = config.get_text_config().num_hidden_layers
    whole = found[0] if len(found) == 1 else found[0].deeper(found[1], layers)
    stretches = whole.stretches.values()
    worst = max(stretches, key=lambda peak: peak.total)
    return replace(
        worst,
        holes=max(0, whole.heap - worst.total),
        states_away=max(peak.states_away for peak in stretches),
        kept_away=max(peak.kept_away for peak in stretches),
    )


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
    away: Callable[[], tuple[int, int]]
    stretch: int = PROBE
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
        here = (self.weights, own, self.states, max(0, rest), logits, 0)
        self.worst[self.stretch] = Peak(*here, *self.away())

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
    heap: Heaps | None
    parameters: list[torch.nn.Parameter]
    update: PlannedUpdate
    kept: Nowhere

    def kept_away(self) -> AbstractContextManager[object]:
        """As that of the run; see Training."""
        if self.train.offload_activations is None:
            return nullcontext()
        return ActivationsAway(self.kept, staying(self.model))()

    def take_step(self) -> None:
        """Clip, and step what is left to be stepped."""
        self.update.grad_norm()
        self.update.step(0)


def _stretches(
    model: PreTrainedModel,
    heap: Heaps | None,
    train: TrainConfig,
    settings: Settings,
    device: torch.device,
    batch: Callable[[], Batch],
    accumulates: bool,
) -> _Found:
    """The worst moments of a step that is not the first, by stretch."""
    with without_numbers():
        parts = _parts(model, train)
        keep_in_weights_dtype(model, train)
        if device.type == "cpu":
            add_lookups_in_place(parts)
        trained = [p for p in model.parameters() if p.requires_grad]
        update = PlannedUpdate(model, trained, train)
        subject = _Subject(model, parts, train, settings, heap, trained, update, Nowhere())
        return _watched(subject, batch, accumulates)


def _watched(subject: _Subject, batch: Callable[[], Batch], accumulates: bool) -> _Found:
    model, parameters, update = subject.model, subject.parameters, subject.update
    width = model.config.get_text_config().vocab_size
    watch = _Watch(parameters, 0, width, lambda: (update.states_away, subject.kept.highest))
    with LiveMemory(width, watch.note, subject.heap) as live:
        for tensor in (*model.parameters(), *model.buffers()):
            live.see(tensor)
        if subject.train.merge_with_base:  # which keeps the base's numbers
            live.now += sum(map(size_of, parameters))
        watch.weights, watch.wide_at_rest = live.now, live.wide
        finer = sum(4 * p.numel() - size_of(p) for p in parameters)
        probed = Peak(live.now + finer, 0, 0, 0, 0)
        one_row = made_rows(1, 8, subject.settings.padded, CPU, subject.settings.varlen)
        first = one_row if subject.heap is None else batch()  # which leaves its holes
        watch.enter(live, MEASURE)
        _measure(subject)
        before = {PROBE: probed, MEASURE: watch.worst[MEASURE]}
        if subject.settings.gradient_checkpointing:
            checkpoint_layers(subject.parts.model)
        _pass(subject, first)
        subject.take_step()
        live.now += 0 if update.away else update.untold
        watch.states, watch.wide_at_rest = live.now - watch.weights, live.wide
        if accumulates:
            _pass(subject, first, last=False)
        watch.worst = before
        watch.enter(live, FORWARD)
        marks = _mark_stretches(subject, partial(watch.enter, live))
        _pass(subject, batch(), between=partial(watch.enter, live, START))
        for mark in marks:
            mark.remove()
        watch.enter(live, UPDATE)
        subject.take_step()
    layers = model.config.get_text_config().num_hidden_layers
    return _Found(layers, watch.worst, subject.heap.highest if subject.heap else 0)


def _measure(subject: _Subject) -> None:
    """What a run measures of its model before it trains."""
    dtype = getattr(torch, subject.settings.dtype)
    padded, objective = subject.settings.padded, _objective(subject.train)
    activation_bytes(subject.parts, MEASURED_TOKENS, padded, dtype, objective)
    if subject.heap is not None:
        subject.heap.end_graph()


def _pass(
    subject: _Subject,
    batch: Batch,
    last: bool = True,
    between: Callable[[], None] = lambda: None,
) -> None:
    """A forward and a backward pass, as the loop makes them; `last`: of a step. `between` the two
    something may be told.
    """
    with subject.settings.precision(CPU), subject.kept_away():
        loss = _objective(subject.train)(subject.parts, batch)
    between()
    packed = packing(subject.parts.decoder) if isinstance(batch, Packed) else nullcontext()
    stepping = subject.update.while_backward(0) if last else nullcontext()
    with packed, stepping:
        (loss / len(batch.labels_N)).backward()
    if subject.heap is not None:
        subject.heap.end_graph()


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
