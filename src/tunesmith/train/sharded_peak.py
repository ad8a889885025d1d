"""The peak memory of each process of a training whose model is sharded over several.

It is found as that of one process (peak.py). FSDP2 itself shards a model without numbers, in a
group of processes that are not there (torch's backend "fake"), and what one of them would have
alive is counted while it takes a step: its parts, the layers that are gathered, and the buffers in
which weights and gradients are sent. Not counted is what NCCL or gloo take for themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import PreTrainedConfig, PreTrainedModel

from tunesmith.distributed.sharding import Root, let_go, local, make_mesh, shard
from tunesmith.recipe import TrainConfig
from tunesmith.train import peak
from tunesmith.train.live_memory import LiveMemory, without_numbers
from tunesmith.train.loss import Objective, Parts, add_lookups_in_place
from tunesmith.train.malloc import Heaps
from tunesmith.train.memory import checkpoint_layers, made_rows
from tunesmith.train.optim import build_optimizers
from tunesmith.train.packing.attention import packing
from tunesmith.train.packing.plan import MicroBatch, TrainingData, forward_tokens, plan_epoch
from tunesmith.train.packing.tensors import Batch, Packed
from tunesmith.train.peak import CPU, Peak
from tunesmith.train.settings import Settings
from tunesmith.train.sharded import layers_of

LOOKED_AT, RANKS_LOOKED_AT = 50, 8
"""Steps and processes among which the largest micro-batch is looked for; the rows' order is random.
"""

SENT_WHOLE = {
    torch.ops.c10d._allgather_base_.default: 0,
    torch.ops.c10d._reduce_scatter_base_.default: 1,
}
"""Where these operations have the whole of a layer's weights or gradients, of which gloo makes a
copy of its own (as measured, torch 2.13)."""
GLOO = -1
GLOO_THREADS = 2
"""Each has a part of the heap to itself, and keeps there what it has freed: without such parts
(MALLOC_ARENA_MAX=1) the measured peaks were lower by about two such copies."""


def planned_sharded_peak(
    config: PreTrainedConfig,
    train: TrainConfig,
    settings: Settings,
    batch: Callable[[], Batch],
    accumulates: bool,
    device: torch.device,
    processes: int,
    trust_remote_code: bool = False,
) -> Peak:
    """The peak of one of several processes; see `planned_peak`. With offload its own parts are in
    the machine's memory, and not in the peak.
    """
    find = partial(_stretches, train=train, settings=settings, batch=batch, accumulates=accumulates)
    with _pretended(processes):
        make_mesh(CPU, train.fsdp.shards)
        worst = peak.worst_moment(config, train, device, trust_remote_code, find)
    if train.fsdp.cpu_offload:
        return replace(worst, weights=0, gradients=0, optimizer=0)
    return worst


def largest_of_ranks(
    data: TrainingData, train: TrainConfig, settings: Settings, processes: int
) -> tuple[MicroBatch, bool]:
    """The micro-batch with the most tokens of any process, and whether a step has several."""
    micros: list[MicroBatch] = []
    most = 0
    for rank in range(min(processes, RANKS_LOOKED_AT)):
        planned = plan_epoch(
            data,
            seed=train.seed,
            epoch=0,
            batch_size=train.train_batch_size,
            max_batch_tokens=settings.max_batch_tokens,
            share_prefixes=settings.share_prefixes,
            rank=rank,
            world_size=processes,
            padded=settings.padded,
        )
        for step in islice(planned, LOOKED_AT):
            passes = (*step.micro_batches, *step.idle)
            micros += passes
            most = max(most, len(passes))

    def tokens(micro: MicroBatch) -> tuple[int, int]:
        trained = int(data.trained_of(micro.rows).sum())
        return forward_tokens(data, micro, settings.padded), trained

    return max(micros, key=tokens), most > 1


@contextmanager
def _pretended(processes: int) -> Iterator[None]:
    """Inside, this is the first of a group of processes that do not exist."""
    dist.init_process_group("fake", rank=0, world_size=processes, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


class ShardedMemory(LiveMemory):
    """Sees what is done with the parts of sharded tensors, and storages that change their size, as
    those of gathered weights do; `sent` is the most that one operation sends, in bytes.
    """

    sent = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """As of one process; of a sharded tensor, what becomes of its part comes here by itself."""
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        if self.heap is not None and func in SENT_WHOLE:
            whole = args[SENT_WHOLE[func]]
            assert isinstance(whole, torch.Tensor)
            self.sent = max(self.sent, peak.size_of(whole))
            self._add(GLOO, peak.size_of(whole), 0)
            self._take_off(GLOO)
        return super().__torch_dispatch__(func, types, args, kwargs)

    @contextmanager
    def resizing(self) -> Iterator[None]:
        """Inside, storages that change their size are counted anew."""
        resize = torch.UntypedStorage.resize_

        def watched(storage: torch.UntypedStorage, size: int) -> Any:
            found = resize(storage, size)
            self.resized(storage)
            return found

        torch.UntypedStorage.resize_ = watched  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign]


@dataclass
class _Subject:
    """A sharded model without numbers, and how the recipe trains it."""

    root: Root
    parts: Parts
    train: TrainConfig
    settings: Settings
    heap: Heaps | None

    @property
    def model(self) -> PreTrainedModel:
        return self.root.model

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]


@dataclass
class _Watch:
    """Keeps what was alive at the worst moment of each stretch."""

    subject: _Subject
    width: int
    weights: int = 0
    states: int = 0
    stretch: int = peak.PROBE

    def __post_init__(self) -> None:
        self.worst: dict[int, Peak] = {}

    def note(self, live: LiveMemory) -> None:
        """There is more alive than ever in this stretch. A gathered weight is seen flat first, so
        that it is none of the `wide`, as its gradient is.
        """
        own = gathered = wide = 0
        for weight in self.subject.model.parameters():
            if not isinstance(weight, DTensor):
                gathered += peak.size_of(weight)
            if isinstance(weight.grad, DTensor):
                own += peak.size_of(local(weight.grad))
            elif weight.grad is not None:
                gathered += peak.size_of(weight.grad)
                wide += peak.size_of(weight.grad) if self.width in weight.shape else 0
        logits = max(0, live.wide - wide)
        rest = live.now - self.weights - self.states - own - gathered - logits
        self.worst[self.stretch] = Peak(
            self.weights, own, self.states, max(0, rest), logits, gathered=gathered
        )

    def enter(self, live: LiveMemory, stretch: int) -> None:
        """What comes now belongs to a later stretch."""
        if stretch > self.stretch:
            self.stretch = stretch
            live.start()
            self.note(live)


def _stretches(
    model: PreTrainedModel,
    heap: Heaps | None,
    train: TrainConfig,
    settings: Settings,
    batch: Callable[[], Batch],
    accumulates: bool,
) -> peak._Found:
    """The worst moments of a step that is not the first, by stretch."""
    layers = model.config.get_text_config().num_hidden_layers
    with without_numbers():
        parts = peak._parts(model, train)
        add_lookups_in_place(parts)
        number = model.config.get_text_config().vocab_size
        with ShardedMemory(number, lambda _: None, heap) as live, live.resizing():
            plain = train.fsdp.model_copy(update={"cpu_offload": False})
            root = shard(parts.model, layers_of(parts.model), settings.dtype, CPU, plain)
            subject = _Subject(root, parts, train, settings, heap)
            watch = _Watch(subject, number)
            live.at_peak = watch.note
            for tensor in (*map(local, root.parameters()), *root.buffers()):
                live.see(tensor.detach())
            _two_steps(subject, watch, live, batch, accumulates)
    kept = heap.highest + GLOO_THREADS * live.sent if heap else 0
    return peak._Found(layers, watch.worst, kept)


def _two_steps(
    subject: _Subject,
    watch: _Watch,
    live: LiveMemory,
    batch: Callable[[], Batch],
    accumulates: bool,
) -> None:
    watch.weights = live.now
    optimizers = build_optimizers(subject.model, subject.train)
    one_row = made_rows(1, 8, subject.settings.padded, CPU, subject.settings.varlen)
    watch.enter(live, peak.MEASURE)
    subject.root(partial(peak._measure, subject))  # type: ignore[arg-type]
    let_go(subject.root)
    before = {peak.MEASURE: watch.worst[peak.MEASURE]}
    if subject.settings.gradient_checkpointing:
        checkpoint_layers(subject.parts.model)
    _pass(subject, one_row if subject.heap is None else batch())
    _update(subject, optimizers)
    watch.states = live.now - watch.weights
    if accumulates:
        _pass(subject, one_row)
    watch.worst = before
    watch.enter(live, peak.FORWARD)
    marks = peak._mark_stretches(subject, partial(watch.enter, live))  # type: ignore[arg-type]
    _pass(subject, batch(), between=partial(watch.enter, live, peak.START))
    for mark in marks:
        mark.remove()
    watch.enter(live, peak.UPDATE)
    _update(subject, optimizers)


def _pass(subject: _Subject, batch: Batch, between: Callable[[], None] = lambda: None) -> None:
    """A forward and a backward pass, as the loop makes them; `between` them something may be
    told.
    """
    objective: Objective = peak._objective(subject.train)
    with subject.settings.precision(CPU):
        loss = subject.root(objective, subject.parts, batch)
    between()
    with packing(subject.parts.decoder) if isinstance(batch, Packed) else nullcontext():
        (loss / len(batch.labels_N)).backward()
    if subject.heap is not None:
        subject.heap.end_graph()


def _update(subject: _Subject, optimizers: list[torch.optim.Optimizer]) -> None:
    torch.nn.utils.clip_grad_norm_(subject.parameters, subject.train.max_grad_norm or 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
