"""How much of the heap glibc's malloc takes for the tensors of a training on a CPU, holes among it.

torch asks for blocks that begin at multiples of 64 bytes (posix_memalign). glibc takes the smallest
free piece that has 96 bytes more than the block, or else the end of the heap, and gives back what
lies before and after the block. Neighbouring free pieces are joined. What lies before, 32 to 80
bytes, is of the size of the nodes that autograd writes for every operation of a forward pass: such
a node takes it and stays until the backward pass, and until then the free pieces on its two sides
stay apart. A piece as large as the block that was in it is too small for the next one of that size,
so that the heap grows while it has room: by a tenth of the tensors, with adapters by half of them.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict

from tunesmith.train.memory import KEPT_KERNELS

ALIGNED = 64
HEADER, UNIT = 16, 16  # bytes before a block; sizes are multiples of UNIT
SPARE = ALIGNED + 32  # what a free piece must have beyond an aligned block
SMALLEST = 32
KERNEL_BYTES = 258_376
"""Of each of the two buffers of a kernel, as malloc was seen to be asked for them."""


class Heap:
    """Addresses of blocks, each under a number; `highest` is the largest that the heap has been."""

    def __init__(self) -> None:
        self.highest = 0
        self._end = 0
        self._by_size: list[tuple[int, int]] = []  # (bytes, address) of free pieces
        self._ends: dict[int, int] = {}  # of free pieces, by where they start
        self._starts: dict[int, int] = {}  # and by where they end
        self._blocks: dict[int, tuple[int, int]] = {}
        self._nodes: list[tuple[int, int]] = []
        self._kernels: OrderedDict[object, list[int]] = OrderedDict()
        self._compiled = 0

    def take(self, number: int, num_bytes: int, in_graph: bool) -> None:
        """Place a block; `in_graph`: autograd writes a node for the operation that made it."""
        block = -(-(num_bytes + 8) // UNIT) * UNIT
        start, end = self._room(block + SPARE)
        at = -(-(start + HEADER) // ALIGNED) * ALIGNED - HEADER
        if 0 < at - start < SMALLEST:
            at += ALIGNED
        self._blocks[number] = (at, at + block)
        self._free(at + block, end)
        if in_graph and at > start:
            self._nodes.append((start, at))
        else:
            self._free(start, at)

    def give_back(self, number: int) -> None:
        """Free a block."""
        self._free(*self._blocks.pop(number))

    def keep_kernel(self, product: object) -> None:
        """oneDNN compiles a kernel for each product of bfloat16 that has other shapes than those
        before it, and keeps the last ones.
        """
        if product in self._kernels:
            self._kernels.move_to_end(product)
            return
        if len(self._kernels) == int(KEPT_KERNELS):
            for block in self._kernels.popitem(last=False)[1]:
                self.give_back(block)
        blocks = [-(2 * self._compiled + part) - 1 for part in range(2)]
        self._compiled += 1
        for block in blocks:
            self.take(block, KERNEL_BYTES, in_graph=False)
        self._kernels[product] = blocks

    def end_graph(self) -> None:
        """Free what the nodes of a forward pass took: its backward pass is over."""
        for start, end in self._nodes:
            self._free(start, end)
        self._nodes.clear()

    def _room(self, size: int) -> tuple[int, int]:
        found = bisect.bisect_left(self._by_size, (size, 0))
        if found < len(self._by_size):
            _, start = self._by_size.pop(found)
            end = self._ends.pop(start)
            del self._starts[end]
            return start, end
        start, self._end = self._end, self._end + size
        self.highest = max(self.highest, self._end)
        return start, self._end

    def _free(self, start: int, end: int) -> None:
        """Add a free piece, joined with its neighbours, or with what is beyond the heap's end."""
        if start == end:
            return
        if start in self._starts:
            before = self._starts.pop(start)
            self._remove(before, start)
            start = before
        if end in self._ends:
            after = self._ends[end]
            del self._starts[after]
            self._remove(end, after)
            end = after
        if end == self._end:
            self._end = start
            return
        bisect.insort(self._by_size, (end - start, start))
        self._ends[start], self._starts[end] = end, start

    def _remove(self, start: int, end: int) -> None:
        del self._ends[start]
        self._by_size.pop(bisect.bisect_left(self._by_size, (end - start, start)))
