"""The heap of glibc's malloc, worked out by hand."""

from __future__ import annotations

from tunesmith.train.malloc import KERNEL_BYTES, Heap

# A block of 1,000 bytes: 1,008 with malloc's 8, a multiple of 16, asked for with 96 more. It begins
# 16 bytes before a multiple of 64, so that the first one lies at 48 to 1056 of a piece to 1104.


def test_a_block_is_aligned_and_what_is_left_of_its_piece_is_free() -> None:
    heap = Heap()
    heap.take(1, 1000, in_graph=False)
    assert heap.highest == 1104
    heap.take(2, 1000, in_graph=False)  # from 1056: at 1072 to 2080 of a piece to 2160
    assert heap.highest == 1056 + 1104


def test_free_neighbours_are_one_piece() -> None:
    heap = Heap()
    for number in range(3):
        heap.take(number, 1000, in_graph=False)
    before = heap.highest
    heap.give_back(0)
    heap.give_back(1)
    heap.take(3, 1900, in_graph=False)
    assert heap.highest == before


def test_the_node_of_an_operation_keeps_its_neighbours_apart_until_the_graph_is_gone() -> None:
    heap = Heap()
    for number in range(3):
        heap.take(number, 1000, in_graph=True)
    heap.give_back(0)
    heap.give_back(1)
    before = heap.highest
    heap.take(3, 1900, in_graph=False)
    assert heap.highest > before
    heap.give_back(3)
    heap.end_graph()
    before = heap.highest
    heap.take(4, 1900, in_graph=False)
    assert heap.highest == before


def test_a_piece_as_large_as_its_block_is_too_small_for_the_next_of_that_size() -> None:
    heap = Heap()
    for number in range(2):
        heap.take(number, 10_000, in_graph=True)
    heap.give_back(0)
    before = heap.highest
    heap.take(2, 10_000, in_graph=True)
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
    assert heap.highest < full + 3 * KERNEL_BYTES
