"""The heap of glibc's malloc, worked out by hand and beside malloc itself."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from random import Random

import pytest

from tunesmith.train.malloc import (
    ALIGNED,
    EDGE,
    KERNEL_BYTES,
    MKL_BUFFERS,
    STORAGE,
    TENSOR,
    Heap,
    Heaps,
)
from tunesmith.train.memory import KEPT_BYTES, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD

# A block of 1,000 bytes is a piece of 1,008: with malloc's 8, a multiple of 16. It is looked for in
# one of 1,120: 96 more, again with 8 and a multiple of 16. It begins 16 bytes before a multiple of
# 64. A storage's object is a piece of 112, a tensor's one of 192.


def test_a_block_is_aligned_between_the_objects_of_its_storage_and_its_tensor() -> None:
    heap = Heap()
    heap.take(1, 1000)  # 0 to 112 storage, to 1120 block, to 1232 free, to 1424 tensor
    assert heap.highest == 1424
    heap.take(2, 1000)  # 1120 storage, 1424 free, 1456 to 2464 block, to 2544 free, to 2736 tensor
    assert heap.highest == 2736


def test_seven_small_pieces_of_each_size_are_not_joined_with_their_neighbours() -> None:
    heap = Heap()
    for _ in range(10):
        heap.begin_operation(2, 4)  # two pieces of 48
    assert heap.highest == 960
    heap.end_graph()  # from 336 on all is one piece, at the end
    for _ in range(3):
        heap.begin_operation(2, 4)
    heap.take(1, 1000)  # to 448 storage, to 1568 block and what is free after it, to 1760 tensor
    assert heap.highest == 1760


def test_what_a_graph_keeps_holds_free_pieces_apart_until_the_graph_is_gone() -> None:
    heap = Heap()
    for number in range(30):
        heap.take(number, 100_000)
        heap.begin_operation(2, 3)
    for number in range(30):
        heap.give_back(number)
    before = heap.highest
    heap.take(30, 250_000)
    assert heap.highest > before
    heap.give_back(30)
    heap.end_graph()
    before = heap.highest
    heap.take(31, 250_000)
    assert heap.highest == before


def test_a_piece_as_large_as_its_block_is_too_small_for_the_next_of_that_size() -> None:
    heap = Heap()
    for number in range(2):
        heap.take(number, 10_000)
        heap.begin_operation(2, 3)
    heap.give_back(0)
    heap.begin_operation(2, 3)
    before = heap.highest
    heap.take(2, 10_000)
    assert heap.highest > before


def test_kernels_are_kept_for_32_products() -> None:
    heap = Heap()
    for product in range(32):
        heap.keep_kernel(product)
    full = heap.highest
    assert full >= 32 * 2 * KERNEL_BYTES
    for product in range(32):  # known
        heap.keep_kernel(product)
    assert heap.highest == full
    for product in range(32, 64):  # each takes the place of the oldest
        heap.keep_kernel(product)
    # what lies beside a block is kept as it is seven times, and then no block fits there
    assert heap.highest <= full + 8 * (KERNEL_BYTES + ALIGNED)


def test_buffers_of_the_first_product_in_float32_are_taken_once() -> None:
    heap = Heap()
    heap.keep_buffers()
    taken = heap.highest
    assert taken == pytest.approx(sum(MKL_BUFFERS), abs=5_000)
    heap.keep_buffers()
    assert heap.highest == taken


def test_heaps_that_had_done_something_else_before_differ_and_their_mean_is_taken() -> None:
    heaps = Heaps()
    for heap in heaps._all:
        assert sum(map(len, heap._cached.values())) > 10  # small pieces that are free
    for _ in range(3):
        for number in range(40):
            heaps.begin_operation(2, 3)
            heaps.take(number, 100_000 + 40_000 * (number % 3))
        for number in range(0, 40, 2):
            heaps.give_back(number)
        for number in range(1, 40, 2):
            heaps.give_back(number)
        heaps.end_graph()
    heaps.keep_buffers()
    heaps.keep_kernel("product")
    each = [heap.highest for heap in heaps._all]
    assert len(set(each)) > 1
    assert heaps.highest == sum(each) // len(each)


# ---- beside malloc itself


def passes(seed: int) -> list[tuple[str, int, int]]:
    """Three passes: blocks that stay to the end of each, in a graph, among some that do not. What
    is done, the number of the block or piece, and its bytes.
    """
    random, number, calls = Random(seed), 0, list[tuple[str, int, int]]()
    for _ in range(3):
        kept, graph = [], []
        for _ in range(300):
            size = random.choice((524_288, 1_048_576, 2_752_512, 4_194_304))
            calls += [("small", number, 2 * EDGE), ("take", number + 1, size)]
            graph.append(number)
            number += 2
            if random.random() < 0.5:
                kept.append(number - 1)
            else:
                calls.append(("free", number - 1, 0))
        while kept:
            size = random.choice((1_048_576, 4_194_304))
            calls += [("take", number, size), ("free", kept.pop(), 0), ("free", number, 0)]
            number += 1
        calls += [("free", node, 0) for node in graph]
    return calls


def grown_in_a_heap(calls: list[tuple[str, int, int]]) -> int:
    heap = Heap()
    for what, number, size in calls:
        if what == "take":
            heap.take(number, size)
        elif what == "small":
            heap._blocks[number] = [heap._small(size)]
        else:
            heap.give_back(number)
    return heap.highest


def most_alive(calls: list[tuple[str, int, int]]) -> int:
    alive, sizes = [0], {}
    for what, number, size in calls:
        sizes.setdefault(number, size)
        alive.append(alive[-1] + (-sizes[number] if what == "free" else size))
    return max(alive)


REAL = f"""
import ctypes, json, sys
calls = json.load(sys.stdin)
libc = ctypes.CDLL(None)
libc.mallopt({M_MMAP_THRESHOLD}, {KEPT_BYTES})  # as keep_freed_memory does
libc.mallopt({M_TRIM_THRESHOLD}, {KEPT_BYTES})
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.malloc.argtypes = [ctypes.c_size_t]
libc.posix_memalign.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
start = highest = libc.sbrk(0)
block, parts = ctypes.c_void_p(), {{}}
for what, number, size in calls:
    if what == "small":
        parts[number] = [libc.malloc(size)]
    elif what == "take":
        storage = libc.malloc({STORAGE})
        libc.posix_memalign(ctypes.addressof(block), 64, size)
        parts[number] = [storage, block.value, libc.malloc({TENSOR})]
    else:
        for part in reversed(parts.pop(number)):
            libc.free(part)
    highest = max(highest, libc.sbrk(0))
print(highest - start)
"""


def grown_in_a_process(calls: list[tuple[str, int, int]]) -> int:
    command = [sys.executable, "-c", REAL]
    asked = json.dumps(calls)
    return int(
        subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, check=True).stdout
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc than glibc's")
def test_heaps_grow_as_those_of_glibc_and_hold_as_much_beside_the_blocks() -> None:
    work = [passes(seed) for seed in range(8)]
    planned = sum(map(grown_in_a_heap, work))
    real = sum(map(grown_in_a_process, work))
    assert planned == pytest.approx(real, rel=0.1)
    assert min(planned, real) > 1.05 * sum(map(most_alive, work))
