"""A sharded model that answers: each rank has rows of its own, and all make their forward passes
together.

A layer's weights are gathered from all ranks whenever one of them needs them, so all must gather
the same layers in the same order. But ranks write answers of different lengths, and try out
different things. So before a pass a rank tells the others that it comes to one, and waits until all
have said what they do. One that has no pass to make gives its part of every layer and computes
nothing, as long as any other has one. A pass that fails in the middle (models are tried out) gives
the layers that it has not come to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from tunesmith.distributed.group import before_meeting
from tunesmith.distributed.sharding import Root, let_go

Found = TypeVar("Found")


@dataclass
class InStep:
    """The passes of a sharded model. Its `layers` are gathered one by one, in the `order` that a
    first pass has shown; `given` counts those of the pass that is being made.
    """

    root: Root
    layers: Sequence[torch.nn.Module]
    order: list[FSDPModule] = field(default_factory=list)
    given: int = 0

    @torch.no_grad()
    def run(self, function: Callable[[PreTrainedModel], Found]) -> Found:
        """What the function makes of the model on this rank. Every rank has to call this, with
        whatever function, and all ranks meet at its end.
        """

        def with_the_others() -> Found:
            model = self.root.model
            if not self.order:
                self._learn_the_order(model)
            with self._told_of_passes(model), before_meeting(self._wait):
                found = function(model)
                self._wait()
                return found

        found: Found = self.root(with_the_others)
        let_go(self.root)
        return found

    def _learn_the_order(self, model: PreTrainedModel) -> None:
        """In a pass that all ranks make: there are models that run a layer twice."""

        def note(layer: torch.nn.Module, _: object) -> None:
            self.order.append(cast(FSDPModule, layer))

        hooks = [layer.register_forward_pre_hook(note) for layer in self.layers]
        device = cast(torch.Tensor, model.get_input_embeddings().weight).device
        model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device))
        for hook in hooks:
            hook.remove()

    @contextmanager
    def _told_of_passes(self, model: PreTrainedModel) -> Iterator[None]:
        """Inside, the other ranks are told of each pass, and given the rest of one that fails."""

        def begin(*_: object) -> None:
            self.given = 0
            _any_rank_has_a_pass(True)

        def count(*_: object) -> None:
            self.given += 1

        def end(*_: object) -> None:
            for layer in self.order[self.given - 1 : self.given]:  # whole still, if it failed
                layer.reshard()
            self._give_rest()

        hooks = [
            model.register_forward_pre_hook(begin),
            *(layer.register_forward_pre_hook(count, prepend=True) for layer in self.layers),
            model.register_forward_hook(end, always_call=True),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _wait(self) -> None:
        """Until no rank has a pass to make."""
        while _any_rank_has_a_pass(False):
            self.given = 0
            self._give_rest()

    def _give_rest(self) -> None:
        for layer in self.order[self.given :]:
            layer.unshard()
            layer.reshard()
        self.given = len(self.order)


def _any_rank_has_a_pass(mine: bool) -> bool:
    """Every rank says whether it has one, and hears whether any has."""
    number = torch.tensor(int(mine))
    dist.all_reduce(number, dist.ReduceOp.MAX)
    return bool(number)
