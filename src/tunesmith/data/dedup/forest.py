"""Disjoint sets of rows: union-find."""

from __future__ import annotations


class Forest:
    """Disjoint sets of row numbers (union-find); the root of a set is its smallest member.

    Rows that are in no set take no memory.
    """

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}

    def root(self, row: int) -> int:
        """The smallest member of the row's set; halves the path to it on the way."""
        while (parent := self.parent.get(row, row)) != row:
            self.parent[row] = self.parent[parent]
            row = self.parent[row]
        return row

    def join(self, a: int, b: int) -> None:
        """Merge the sets of two rows.

        A root is entered as its own parent, so that `parent` lists all rows of sets of two or more.
        """
        low, high = sorted((self.root(a), self.root(b)))
        self.parent[high] = self.parent[low] = low
