"""Mixtures of several sources: which of them are one task, how many examples each one gives to an
epoch, and which.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import DataError

DEFAULT_CAP = 3000


def mixture_rates(sizes: Mapping[str, int], cap: int = DEFAULT_CAP) -> dict[str, float]:
    """Examples-proportional rates with a cap: rate_i = min(n_i, cap) / sum_j min(n_j, cap).

    (Raffel et al. 2020, section 3.5.2; Wei et al. 2022 use cap = 3000.) Sources for replay count
    like any other. Raises DataError where no source has an example.
    """
    capped = {name: min(size, cap) for name, size in sizes.items()}
    total = sum(capped.values())
    if total == 0:
        raise DataError(
            f"a mixture of {len(sizes)} sources without an example",
            hint="see rejected.jsonl for why",
        )
    return {name: count / total for name, count in capped.items()}


def mixture_counts(
    sizes: Mapping[str, int], cap: int = DEFAULT_CAP, total: int | None = None
) -> dict[str, int]:
    """Examples of each source that add up to `total` (largest remainders); without a total,
    min(n_i, cap) each.
    """
    rates = mixture_rates(sizes, cap)
    if total is None:
        total = sum(min(size, cap) for size in sizes.values())
    exact = {name: rate * total for name, rate in rates.items()}
    counts = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def sample_mixture(
    sizes: Mapping[str, int], cap: int = DEFAULT_CAP, total: int | None = None, seed: int = 0
) -> list[tuple[str, int]]:
    """Which rows: (source, index into that source), shuffled, the same on every machine.

    A source gives no row a second time before it has given each row once; what one source gives
    does not depend on the other sources' rows, only on how many are asked of it.
    """
    drawn = [
        (name, index)
        for name, count in mixture_counts(sizes, cap, total).items()
        for index in _draw(sizes[name], count, f"{seed}/{name}")
    ]
    random.Random(f"{seed}").shuffle(drawn)
    return drawn


def _draw(size: int, count: int, seed: str) -> list[int]:
    if size == 0:
        return []
    passes, rest = divmod(count, size)
    return list(range(size)) * passes + random.Random(seed).sample(range(size), rest)


# ---- which sources are one task


@dataclass(frozen=True)
class Kind:
    """What decides whether two sources are one task: the `name` that the recipe gives it, or else
    its `form` (family, parser, metrics) and labels. A held-out source without a name is a task of
    its own.
    """

    path: str
    form: tuple[str, ...]
    choices: tuple[str, ...] = ()
    name: str | None = None
    held_out: bool = False


def task_names(kinds: Sequence[Kind]) -> list[str]:
    """The task of each source; empty texts where all are one task.

    A task without a name has that of its first file. Raises DataError where sources of one name
    are answered or scored in different ways, or where only some of them are held out.
    """
    firsts: list[Kind] = []
    number_of: list[int] = []
    for kind in kinds:
        number = next((i for i, first in enumerate(firsts) if _is_one_task(first, kind)), None)
        if number is None:
            number = len(firsts)
            firsts.append(kind)
        number_of.append(number)
    if len(firsts) == 1:
        return [""] * len(kinds)
    taken = {first.name for first in firsts if first.name is not None}
    names = [first.name or _new_name(Path(first.path).stem, taken) for first in firsts]
    return [names[number] for number in number_of]


def _is_one_task(first: Kind, other: Kind) -> bool:
    if first.name is None and other.name is None:
        shared = set(first.choices) & set(other.choices) or first.choices == other.choices
        return first.form == other.form and not (first.held_out or other.held_out) and bool(shared)
    if first.name != other.name:
        return False
    if (first.form, first.held_out) != (other.form, other.held_out):
        raise DataError(
            f"data.source: {first.path} and {other.path} have the name {first.name!r}, but "
            f"{_difference(first, other)}",
            hint="give different tasks different names",
        )
    return True


def _difference(first: Kind, other: Kind) -> str:
    if first.held_out != other.held_out:
        return "only one of them is held_out"
    return f"they are {' '.join(first.form)} and {' '.join(other.form)}"


def _new_name(stem: str, taken: set[str]) -> str:
    """The stem, with a number where another task has it; it is then taken too."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem} {number}"
    taken.add(name)
    return name
