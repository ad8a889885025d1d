"""How much of the heap glibc's malloc takes for the tensors of a training on a CPU, holes among it.

torch asks for blocks that begin at multiples of 64 bytes (posix_memalign). glibc takes the smallest
free piece that has 112 bytes more than the block, or else the end of the heap, and gives back what
lies before and after the block. So a piece as large as the block that was in it is too small for
the next one of that size, unless what lay beside it is free too. And that is of the size of what
torch makes for every tensor, and autograd keeps of every operation of a forward pass: it comes to
lie there, stays until the backward pass is over, and until then the free pieces on its two sides
stay apart. Of small pieces, moreover, malloc keeps seven of each size as they are, and does not
join them with their neighbours. The heap grows while it has room: by a tenth of the tensors, with
adapters by half of them.

What else malloc does (MallocInternals in glibc's wiki has it) was left out, as it changed the heaps
of eight trainings, followed by their calls of malloc one by one, by no more than chance does.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from random import Random

from tunesmith.train.memory import KEPT_KERNELS

Piece = tuple[int, int]  # where it starts, and its bytes

ALIGNED = 64
HEADER, UNIT, SMALLEST = 16, 16, 32  # bytes before a block; pieces are multiples of a unit
CACHED, EACH_CACHED = 1040, 7
KERNEL_BYTES = 258_376
"""Of each of the two buffers of a kernel, as malloc was seen to be asked for them."""

MKL_BUFFERS = (4_876_832, 5_712_416, 5_843_488, 5_974_560, 14_821_920)
"""As malloc was seen to be asked for them, with small differences, for products of any size but the
smallest.
"""

STORAGE, TENSOR = 96, 176
"""Bytes of the objects that torch makes for a block: its storage before it, its tensor after it."""

EDGE, SIDE = 16, 8
"""Bytes of what autograd keeps of each tensor that an operation is given, and of each side of its
shape. The operation's node is larger than what lies between two blocks, and changes little.
"""

HEAPS, PIECES = 8, 400


class Heaps:
    """Heaps of processes that do the same, and had done something else before.

    Small differences decide which of two holes a block fits into, and so where the next ones go:
    two heaps come out up to a tenth apart, as do those of two runs. Their mean is what to expect,
    and can be drawn from shallow models to deep ones.
    """

    def __init__(self) -> None:
        self._all = [Heap() for _ in range(HEAPS)]
        for seed, heap in enumerate(self._all):
            heap.begin(seed)

    @property
    def highest(self) -> int:
        """The mean of the largest that they have been."""
        return sum(heap.highest for heap in self._all) // HEAPS

    def take(self, number: int, num_bytes: int) -> None:
        """See Heap, as for the other methods."""
        for heap in self._all:
            heap.take(number, num_bytes)

    def give_back(self, number: int) -> None:
        """Free a block and its objects."""
        for heap in self._all:
            heap.give_back(number)

    def begin_operation(self, num_tensors: int, num_sides: int) -> None:
        """Place what autograd keeps of an operation."""
        for heap in self._all:
            heap.begin_operation(num_tensors, num_sides)

    def end_graph(self) -> None:
        """Free what a graph took."""
        for heap in self._all:
            heap.end_graph()

    def keep_buffers(self) -> None:
        """Keep MKL's."""
        for heap in self._all:
            heap.keep_buffers()

    def keep_kernel(self, product: object) -> None:
        """Keep oneDNN's."""
        for heap in self._all:
            heap.keep_kernel(product)


class Heap:
    """Addresses of blocks, each under a number; `highest` is the largest that the heap has been."""

    def __init__(self) -> None:
        self.highest = 0
        self._end = 0
        self._cached: dict[int, list[int]] = {}  # starts of small free pieces, by their bytes
        self._by_size: list[tuple[int, int]] = []  # bytes and start of the other free pieces
        self._ends: dict[int, int] = {}  # of these, by where they start
        self._starts: dict[int, int] = {}  # and by where they end
        self._blocks: dict[int, list[Piece]] = {}
        self._graph: list[Piece] = []
        self._buffers: list[Piece] = []
        self._kernels: OrderedDict[object, list[Piece]] = OrderedDict()

    def begin(self, seed: int) -> None:
        """Leave small pieces, used and free ones in turns of chance, as imports do."""
        random = Random(seed)
        pieces = [self._small(random.randrange(SMALLEST, CACHED)) for _ in range(PIECES)]
        for piece in random.sample(pieces, PIECES // 2):
            self._give(*piece)

    def take(self, number: int, num_bytes: int) -> None:
        """Place a block, with the objects of its storage and tensor."""
        storage, block = self._small(STORAGE), self._aligned(num_bytes)
        self._blocks[number] = [storage, block, self._small(TENSOR)]

    def give_back(self, number: int) -> None:
        """Free a block and its objects."""
        for piece in reversed(self._blocks.pop(number)):
            self._give(*piece)

    def begin_operation(self, num_tensors: int, num_sides: int) -> None:
        """Place what autograd keeps of an operation: so many tensors, and the first one's shape."""
        self._graph += map(self._small, (EDGE * num_tensors, SIDE * num_sides))

    def end_graph(self) -> None:
        """Free what a graph took: its backward pass is over."""
        for piece in self._graph:
            self._give(*piece)
        self._graph.clear()

    def keep_buffers(self) -> None:
        """MKL, which multiplies float32, takes buffers at the first product and keeps them."""
        if not self._buffers:
            self._buffers = [self._aligned(num_bytes) for num_bytes in MKL_BUFFERS]

    def keep_kernel(self, product: object) -> None:
        """oneDNN compiles a kernel for each product of bfloat16 that has other shapes than those
        before it, and keeps the last ones.
        """
        if product in self._kernels:
            self._kernels.move_to_end(product)
            return
        if len(self._kernels) == int(KEPT_KERNELS):
            for piece in self._kernels.popitem(last=False)[1]:
                self._give(*piece)
        self._kernels[product] = [self._aligned(KERNEL_BYTES) for _ in range(2)]

    def _small(self, num_bytes: int) -> Piece:
        size = _with_header(num_bytes)
        cached = self._cached.get(size)
        return (cached.pop(), size) if cached else self._room(size)

    def _aligned(self, num_bytes: int) -> Piece:
        size = _with_header(num_bytes)
        start, found = self._room(_with_header(size + ALIGNED + SMALLEST))
        at = -(-(start + HEADER) // ALIGNED) * ALIGNED - HEADER
        if 0 < at - start < SMALLEST:
            at += ALIGNED
        if at > start:
            self._give(start, at - start)
        rest = start + found - at - size
        if rest <= SMALLEST:
            return at, size + rest
        self._give(at + size, rest)
        return at, size

    def _room(self, size: int) -> Piece:
        place = bisect.bisect_left(self._by_size, (size, 0))
        if place == len(self._by_size):
            start, self._end = self._end, self._end + size
            self.highest = max(self.highest, self._end)
            return start, size
        found, start = self._by_size[place]
        self._remove(start, start + found)
        if found - size < SMALLEST:
            return start, found
        self._join(start + size, start + found)
        return start, size

    def _give(self, start: int, size: int) -> None:
        if size <= CACHED:
            cached = self._cached.setdefault(size, [])
            if len(cached) < EACH_CACHED:
                cached.append(start)
                return
        self._join(start, start + size)

    def _join(self, start: int, end: int) -> None:
        """Free a piece, joined with its free neighbours, or with what is beyond the heap's end."""
        if start in self._starts:
            before = self._starts[start]
            self._remove(before, start)
            start = before
        if end in self._ends:
            after = self._ends[end]
            self._remove(end, after)
            end = after
        if end == self._end:
            self._end = start
            return
        bisect.insort(self._by_size, (end - start, start))
        self._ends[start], self._starts[end] = end, start

    def _remove(self, start: int, end: int) -> None:
        del self._ends[start], self._starts[end]
        self._by_size.pop(bisect.bisect_left(self._by_size, (end - start, start)))


def _with_header(num_bytes: int) -> int:
    """Bytes of the piece that malloc needs for so many."""
    return max(SMALLEST, -(-(num_bytes + 8) // UNIT) * UNIT)
