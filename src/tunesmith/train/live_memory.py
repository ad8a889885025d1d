"""Bytes of the tensors that are alive while code runs, found on tensors without numbers.

torch's FakeTensorMode gives every operation's result its shape, dtype and device without memory
for its numbers, and what is alive is known by its storages: views share one, and it is counted
until nothing holds it. So a training step of any model can be watched on any machine, through the
same code that runs it.

Integers keep their numbers: they are indices, and code asks about them (which queries see which
keys), which nothing could answer of tensors without numbers.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from tunesmith.train.malloc import Heaps

NO_BACKWARD = -1
ROOT_BYTES = 64
"""Storages below this are left out: a scalar's block is lost in what malloc keeps for itself."""

ASKED_MOST = torch.ops.prim.device.default
"""What two of three operations ask, answered here at once."""

PRODUCTS = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default}
PRODUCTS |= {torch.ops.aten.mm.out, torch.ops.aten.bmm.out}


class LiveMemory(TorchDispatchMode):
    """Counts bytes of storages; `wide` are those of tensors with a side of `width`, the vocabulary.

    `at_peak` is called whenever more is alive than ever since `start`. A `heap` is told of every
    storage that comes and goes.
    """

    def __init__(
        self, width: int, at_peak: Callable[[LiveMemory], None], heap: Heaps | None = None
    ) -> None:
        super().__init__()
        self.heap = heap
        self.now = self.wide = self.highest = 0
        self.width, self.at_peak = width, at_peak
        self._number = 0
        self._known: dict[int, weakref.ref[object]] = {}
        self._sizes: dict[int, tuple[int, int, int]] = {}  # of these: number, bytes, wide bytes

    def start(self) -> None:
        """Forget the highest number so far."""
        self.highest = self.now

    def see(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage until nothing holds it."""
        if tensor.layout != torch.strided or _device(tensor).type == "meta":
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known or size < ROOT_BYTES:
            return
        self._add(key, size, size if self.width in tensor.shape else 0)

        def gone(_: object) -> None:
            del self._known[key]
            self._take_off(key)

        self._known[key] = weakref.ref(storage, gone)

    def resized(self, storage: torch.UntypedStorage) -> None:
        """Count a known storage with the size that it has now."""
        if storage._cdata in self._known:
            self._take_off(storage._cdata)
            self._add(storage._cdata, storage.nbytes(), 0)

    def _add(self, key: int, size: int, wide: int) -> None:
        self._number += 1
        self._sizes[key] = (self._number, size, wide)
        if self.heap is not None:
            self.heap.take(self._number, size)
        self.now += size
        self.wide += wide
        if self.now > self.highest:
            self.highest = self.now
            self.at_peak(self)

    def _take_off(self, key: int) -> None:
        number, size, wide = self._sizes.pop(key)
        if self.heap is not None:
            self.heap.give_back(number)
        self.now -= size
        self.wide -= wide

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation, on numbers where they are integers, and count what it gives."""
        if func is ASKED_MOST and isinstance(args[0], FakeTensor):
            return args[0].fake_device
        kwargs = kwargs or {}
        given = [part for part in tree_iter((args, kwargs)) if isinstance(part, torch.Tensor)]
        if self.heap is not None and _is_in_graph(given):
            self.heap.begin_operation(len(given), given[0].dim())
        if given and not any(tensor.is_floating_point() for tensor in given):
            with unset_fake_temporarily():
                out = func(*args, **kwargs)
        else:
            out = func(*args, **kwargs)
        if self.heap is not None and func in PRODUCTS:
            if given[0].dtype == torch.bfloat16:
                self.heap.keep_kernel((func, *((t.shape, t.stride()) for t in given)))
            elif torch.backends.mkl.is_available():
                self.heap.keep_buffers()
        made_of_none = not given and isinstance(out, torch.Tensor)
        if made_of_none and not out.is_floating_point():
            with unset_fake_temporarily():
                out = func(*args, **kwargs)
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                self.see(tensor)
        return out


def _is_in_graph(given: list[torch.Tensor]) -> bool:
    """Whether autograd makes a node for an operation on these."""
    # What checkpointing computes again in a backward pass keeps no graph.
    forward = torch._C._current_graph_task_id() == NO_BACKWARD
    return forward and torch.is_grad_enabled() and any(t.requires_grad for t in given)


def _device(tensor: torch.Tensor) -> torch.device:
    return tensor.fake_device if isinstance(tensor, FakeTensor) else tensor.device


@contextmanager
def without_numbers() -> Iterator[None]:
    """Tensors that are made inside have no numbers, and real ones may be used beside them."""
    logger = logging.getLogger(fake_tensor.__name__)
    before = logger.level
    logger.setLevel(logging.CRITICAL)  # what cannot be run so is raised too
    try:
        with torch.random.fork_rng(devices=()), FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        logger.setLevel(before)
