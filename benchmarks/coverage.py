"""How often the intervals that tunesmith shows hold the truth, and how often its tests reject what
is true, on drawn data of known truth.

    python benchmarks/coverage.py [--replications 2000] [--only macro]

Prints the Markdown tables of docs/statistics.md: the share of intervals that hold the true value,
wanted 0.93 to 0.97 for intervals of 95 %. In parentheses the share of data sets that get an
interval, where it is not all; a dash where none does.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tunesmith.evaluate.compare import difference_and_test, estimate_metric
from tunesmith.evaluate.metrics import METRICS, Answers, find_metric
from tunesmith.records import Example, Prediction

Floats = npt.NDArray[np.float64]
Rng = np.random.Generator
SIZES = (20, 50, 100, 234, 1000)
ZIPF = 1 / np.arange(1, 11) / (1 / np.arange(1, 11)).sum()
SWAPS = 399
TRUTH_ROWS = 100_000


@dataclass(frozen=True)
class Case:
    """Data of one kind: `draw(rng, n)` gives rows_ND of one system, or of two side by side.

    `truth` None: the value of very many rows. `sizes` are those at which it is simulated.
    """

    name: str
    metric: str
    draw: Callable[[Rng, int], Floats]
    truth: float | None = None
    sizes: Sequence[int] = SIZES


@dataclass(frozen=True)
class Clusters:
    """A shape of clusters: `sizes(rng)` gives the rows of each."""

    name: str
    sizes: Callable[[Rng], Sequence[int]]


# ---- rows of one system


def column(scores: npt.ArrayLike) -> Floats:
    return np.asarray(scores, dtype=float).reshape(-1, 1)


def right(share: float) -> Callable[[Rng, int], Floats]:
    return lambda rng, n: column(rng.random(n) < share)


def mostly_ones(share: float) -> Callable[[Rng, int], Floats]:
    """Token F1 of short answers: most are 1, the others anywhere between 0 and 1."""
    return lambda rng, n: column(np.where(rng.random(n) < share, 1.0, rng.random(n)))


def one_hot(true: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], k: int) -> Floats:
    """The rows of metrics by class: right, predicted, true."""
    eye = np.eye(k)
    return np.hstack([eye[true] * eye[predicted], eye[predicted], eye[true]])


def classes(shares: Floats, accuracy: float) -> Callable[[Rng, int], Floats]:
    """True classes with these shares; a wrong answer is a class drawn by them."""
    k = len(shares)

    def draw(rng: Rng, n: int) -> Floats:
        true, other = (rng.choice(k, n, p=shares) for _ in range(2))
        return one_hot(true, np.where(rng.random(n) < accuracy, true, other), k)

    return draw


def numbers(rng: Rng, n: int) -> Floats:
    """Answers whose error grows with the size of the right number."""
    wanted = rng.normal(size=n)
    return np.column_stack([wanted + rng.normal(size=n) * (1 + np.abs(wanted)) / 2, wanted])


def long_tailed_numbers(rng: Rng, n: int) -> Floats:
    """Right numbers are lognormal(0, 1), answers off by a factor that is lognormal(0, 0.5)."""
    wanted = rng.lognormal(0, 1, n)
    return np.column_stack([wanted * rng.lognormal(0, 0.5, n), wanted])


LOGNORMAL_R = (math.e - 1) / math.sqrt((math.e**1.25 - 1) * (math.e - 1))
"""The correlation of two lognormals: (e^cov - 1) / sqrt((e^var - 1)(e^var' - 1))."""


def likelihoods(rng: Rng, n: int) -> Floats:
    """Negative log-likelihood, tokens and bytes of answers of 5 to 60 tokens."""
    tokens = rng.integers(5, 60, n).astype(float)
    return np.column_stack([tokens * rng.gamma(4, 0.4, n), tokens, 4 * tokens])


def translations(metric: str) -> Callable[[Rng, int], Floats]:
    """Sentences of 4 to 24 words of which some are replaced and some answers cut short."""
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(400)])
    shares = 1 / np.arange(1, 401) / (1 / np.arange(1, 401)).sum()
    wanted = [rng.choice(words, rng.integers(4, 25), p=shares) for _ in range(2000)]
    texts = []
    for sentence in wanted:
        wrong = rng.random(len(sentence)) < 0.7 * rng.beta(2, 2)
        answer = np.where(wrong, rng.choice(words, len(sentence), p=shares), sentence)
        texts.append(" ".join(answer[: len(answer) // (2 if rng.random() < 0.3 else 1)]))
    examples = [Example(f"{i}", f"{i}", "", "", " ".join(w)) for i, w in enumerate(wanted)]
    predictions = [Prediction(f"{i}", text, True, 1) for i, text in enumerate(texts)]
    pool = METRICS[metric].rows(Answers(examples, predictions, "text"))
    return lambda rng, n: pool[rng.integers(0, len(pool), n)] if n < TRUTH_ROWS else pool


def one_system() -> list[Case]:
    small = SIZES[:-1]
    two, three = np.array([0.95, 0.05]), np.array([0.5, 0.3, 0.2])
    return [
        Case("accuracy 80 %", "accuracy", right(0.8), 0.8),
        Case("accuracy 97 %", "accuracy", right(0.97), 0.97),
        Case("token F1, 95 % are 1", "token_f1", mostly_ones(0.95), 0.975),
        Case("token F1, 99 % are 1", "token_f1", mostly_ones(0.99), 0.995),
        Case("ROUGE, Beta(2, 5)", "rougeL", lambda rng, n: column(rng.beta(2, 5, n)), 2 / 7),
        Case("length ratio, lognormal(0, 0.5)", "length_ratio", lognormal(0.5), math.exp(0.125)),
        Case("MAE, lognormal(0, 1)", "mae", lognormal(1.0), math.exp(0.5)),
        Case("MAE, lognormal(0, 1.5)", "mae", lognormal(1.5), math.exp(1.125)),
        Case("macro-F1, 77 classes, 85 % right", "macro_f1", classes(np.full(77, 1 / 77), 0.85)),
        Case("macro-F1, 10 Zipf classes, 80 % right", "macro_f1", classes(ZIPF, 0.8)),
        Case("macro-F1, two classes 95/5, 80 % right", "macro_f1", classes(two, 0.8)),
        Case("macro-F1, three classes, 90 % right", "macro_f1", classes(three, 0.9), sizes=small),
        Case("weighted F1, 10 Zipf classes", "weighted_f1", classes(ZIPF, 0.8), sizes=small),
        Case("micro-F1, three classes", "micro_f1", classes(three, 0.9), sizes=small),
        Case("MCC, three classes", "mcc", classes(three, 0.9), sizes=small),
        Case("MCC, two classes 95/5", "mcc", classes(two, 0.8), sizes=small),
        Case("Pearson r", "pearson", numbers, sizes=small),
        Case("Pearson r, lognormal", "pearson", long_tailed_numbers, LOGNORMAL_R, small),
        Case("Spearman rho", "spearman", numbers, sizes=small),
        Case("RMSE, t(5) errors", "rmse", lambda rng, n: column(rng.standard_t(5, n) ** 2),
             math.sqrt(5 / 3)),
        Case("perplexity", "perplexity", likelihoods, math.exp(1.6), small),
        Case("bits per byte", "bits_per_byte", likelihoods, 1.6 / math.log(2) / 4, small),
        Case("BLEU", "bleu", translations("bleu"), sizes=small),
        Case("chrF", "chrf", translations("chrf"), sizes=small),
        Case("TER", "ter", translations("ter"), sizes=small),
    ]  # fmt: skip


def lognormal(sigma: float) -> Callable[[Rng, int], Floats]:
    return lambda rng, n: column(rng.lognormal(0, sigma, n))


# ---- rows of two systems, side by side


def discordant(only_a: float, only_b: float) -> Callable[[Rng, int], Floats]:
    """Right and wrong, of which these shares of the rows tell the two apart."""

    def draw(rng: Rng, n: int) -> Floats:
        u = rng.random(n)
        both = rng.random(n) < 0.7
        a = np.where(u < only_a, 1, np.where(u > 1 - only_b, 0, both))
        b = np.where(u < only_a, 0, np.where(u > 1 - only_b, 1, both))
        return np.column_stack([a, b]).astype(float)

    return draw


def sparse(changed: float) -> Callable[[Rng, int], Floats]:
    """Scores of which few change, most a little and some a lot, all for the better."""

    def draw(rng: Rng, n: int) -> Floats:
        gain = np.where(rng.random(n) < changed, rng.beta(0.5, 2, n), 0.0)
        return np.column_stack([0 * gain, gain])

    return draw


def lopsided(rng: Rng, n: int) -> Floats:
    """Two equally good systems: rarely much better, often a little worse."""
    gain = np.where(rng.random(n) < 0.05, 0.5, 0.0) - np.where(rng.random(n) < 0.5, 0.05, 0.0)
    return np.column_stack([np.full(n, 0.3), 0.3 + gain])


def two_classifiers(shares: Floats, first: float, second: float) -> Callable[[Rng, int], Floats]:
    k = len(shares)

    def draw(rng: Rng, n: int) -> Floats:
        true, other, third = (rng.choice(k, n, p=shares) for _ in range(3))
        u = rng.random(n)
        v = np.where(rng.random(n) < 0.7, u, rng.random(n))
        answers = np.where(u < first, true, other), np.where(v < second, true, third)
        return np.hstack([one_hot(true, answer, k) for answer in answers])

    return draw


def two_errors(rng: Rng, n: int) -> Floats:
    size = rng.lognormal(0, 1, n)
    return np.column_stack([size * rng.gamma(2, 0.5, n), size * rng.gamma(2, 0.45, n)])


def texts_before_and_after(rng: Rng, n: int) -> Floats:
    """Held-out texts of 400 to 4,000 bytes; the loss of some grows more than that of others."""
    num_bytes = rng.integers(400, 4000, n).astype(float)
    before = num_bytes * rng.gamma(30, 1 / 40, n)
    after = before * (1.02 + 0.05 * rng.standard_exponential(n))
    return np.column_stack([before, num_bytes / 4, num_bytes, after, num_bytes / 4, num_bytes])


def two_systems() -> list[Case]:
    small, two, three = SIZES[:-1], np.array([0.95, 0.05]), np.array([0.5, 0.3, 0.2])
    return [
        Case("accuracy, 0 % and 2 % discordant", "accuracy", discordant(0, 0.02), 0.02),
        Case("accuracy, 3 % and 3 % discordant", "accuracy", discordant(0.03, 0.03), 0.0),
        Case("accuracy, 10 % and 15 % discordant", "accuracy", discordant(0.1, 0.15), 0.05),
        Case("sparse skewed scores, 5 % change", "token_f1", sparse(0.05), 0.01, small),
        Case("sparse skewed scores, 20 % change", "token_f1", sparse(0.2), 0.04, small),
        Case("lopsided scores, equally good", "token_f1", lopsided, 0.0, small),
        Case("MAE, lognormal errors", "mae", two_errors, -0.1 * math.exp(0.5), small),
        Case("macro-F1, three classes", "macro_f1", two_classifiers(three, 0.7, 0.8), sizes=small),
        Case("macro-F1, 95/5", "macro_f1", two_classifiers(two, 0.8, 0.9), sizes=small),
        Case("macro-F1, 10 Zipf classes", "macro_f1", two_classifiers(ZIPF, 0.8, 0.85),
             sizes=small),
        Case("macro-F1, three classes, equal", "macro_f1", two_classifiers(three, 0.8, 0.8), 0.0,
             sizes=small),
        Case("bits per byte of texts", "bits_per_byte", texts_before_and_after, sizes=small),
    ]  # fmt: skip


# ---- clusters

SHAPES = [
    Clusters("5, one of 60 and four of 3", lambda rng: [60] + 4 * [3]),
    Clusters("20, one of 60 and 19 of 3", lambda rng: [60] + 19 * [3]),
    Clusters("6 of 10", lambda rng: 6 * [10]),
    Clusters("10 of 1 to 20", lambda rng: rng.integers(1, 21, 10)),
    Clusters("20 of 1 to 20", lambda rng: rng.integers(1, 21, 20)),
    Clusters("30 of 4", lambda rng: 30 * [4]),
    Clusters("60 of 1 to 8", lambda rng: rng.integers(1, 9, 60)),
]


@dataclass(frozen=True)
class Clustered:
    """Rows whose clusters differ: `draw(rng, cluster_C, number_N)` gives rows, as in Case."""

    name: str
    metric: str
    draw: Callable[[Rng, int, npt.NDArray[np.int64]], Floats]
    truth: float


def shared_right(share: float, alike: float) -> Callable[..., Floats]:
    """Right and wrong; rows of a cluster have the correlation `alike`."""
    total = (1 - alike) / alike

    def draw(rng: Rng, count: int, number_N: npt.NDArray[np.int64]) -> Floats:
        of_cluster = rng.beta(share * total, (1 - share) * total, count)
        return column(rng.random(len(number_N)) < of_cluster[number_N])

    return draw


def shared_scores(rng: Rng, count: int, number_N: npt.NDArray[np.int64]) -> Floats:
    """Scores between 0 and 1 of mean 0.6."""
    of_cluster = rng.beta(6, 4, count)[number_N]
    return column(rng.beta(6 * of_cluster, 6 * (1 - of_cluster)))


def shared_errors(rng: Rng, count: int, number_N: npt.NDArray[np.int64]) -> Floats:
    """Lognormal errors of mean 1, half of whose variance on the log scale is the cluster's."""
    scale = rng.normal(-0.125, 0.5, count)[number_N] + rng.normal(-0.125, 0.5, len(number_N))
    return column(np.exp(scale))


def shared_discordant(rng: Rng, count: int, number_N: npt.NDArray[np.int64]) -> Floats:
    """Two systems, equally good; a cluster has its own share of rows that tell them apart."""
    share = rng.beta(1, 6, (2, count))[:, number_N]
    u = rng.random(len(number_N))
    return np.column_stack([u > share[0], u < 1 - share[1]]).astype(float)


def shared_lopsided(rng: Rng, count: int, number_N: npt.NDArray[np.int64]) -> Floats:
    """Two systems, equally good: much better in one cluster of ten, else a little worse."""
    gain = np.where(rng.random(count) < 0.1, 0.45, -0.05)[number_N]
    noise = rng.uniform(-0.05, 0.05, len(number_N))
    return np.column_stack([np.full(len(number_N), 0.4), 0.4 + gain + noise])


ONE_CLUSTERED = [
    Clustered("accuracy 80 %, correlation 0.1", "accuracy", shared_right(0.8, 0.1), 0.8),
    Clustered("accuracy 80 %, correlation 0.5", "accuracy", shared_right(0.8, 0.5), 0.8),
    Clustered("accuracy 95 %, correlation 0.3", "accuracy", shared_right(0.95, 0.3), 0.95),
    Clustered("scores from 0 to 1", "token_f1", shared_scores, 0.6),
    Clustered("lognormal errors", "mae", shared_errors, 1.0),
]
TWO_CLUSTERED = [
    Clustered("accuracy, equally good", "accuracy", shared_discordant, 0.0),
    Clustered("skewed scores, equally good", "token_f1", shared_lopsided, 0.0),
]


# ---- what is counted


@dataclass(frozen=True)
class Tally:
    """Of the data sets: the share with an interval, of those the share that hold the truth, and
    the share with p of 0.05 at most.
    """

    shown: float
    holds: float
    rejects: float = math.nan

    @property
    def cell(self) -> str:
        if self.shown == 0:
            return "-"
        return f"{self.holds:.3f}" + ("" if self.shown > 0.995 else f" ({self.shown:.0%})")


def true_value(case: Case, rng: Rng) -> float:
    if case.truth is not None:
        return case.truth
    metric, rows = find_metric(case.metric), case.draw(rng, TRUTH_ROWS)
    ones, half = np.ones((1, len(rows))), rows.shape[1] // 2
    if case in TWO_SYSTEMS:
        return float((metric.value(ones, rows[:, half:]) - metric.value(ones, rows[:, :half]))[0])
    return float(metric.value(ones, rows)[0])


def interval_of_one(
    metric: str, rows_ND: Floats, clusters: Sequence[str] | None
) -> tuple[tuple[float, float], float]:
    return estimate_metric(find_metric(metric), rows_ND, clusters).ci, math.nan


def interval_of_two(
    metric: str, rows_ND: Floats, clusters: Sequence[str] | None
) -> tuple[tuple[float, float], float]:
    half = rows_ND.shape[1] // 2
    found, p, _ = difference_and_test(
        find_metric(metric),
        rows_ND[:, :half],
        rows_ND[:, half:],
        clusters or [str(i) for i in range(len(rows_ND))],
        resamples=SWAPS,
    )
    return found.ci, p


Intervals = Callable[[str, Floats, "Sequence[str] | None"], tuple[tuple[float, float], float]]


def tally(
    intervals: Intervals,
    metric: str,
    data: Callable[[Rng], tuple[Floats, Sequence[str] | None]],
    truth: float,
    replications: int,
    seed: int = 1,
) -> Tally:
    rng, held, p_values = np.random.default_rng(seed), [], []
    for _ in range(replications):
        (low, high), p = intervals(metric, *data(rng))
        p_values.append(p)
        if not math.isnan(low):
            held.append(low <= truth <= high)
    shown = len(held) / replications
    return Tally(
        shown,
        float(np.mean(held)) if held else math.nan,
        float(np.mean(np.array(p_values) <= 0.05)),
    )


def by_size(
    case: Case, intervals: Intervals, replications: int, seed: int = 1
) -> list[Tally | None]:
    truth = true_value(case, np.random.default_rng(2))

    def at(n: int) -> Tally:
        return tally(
            intervals, case.metric, lambda rng: (case.draw(rng, n), None), truth, replications, seed
        )

    return [at(n) if n in case.sizes else None for n in SIZES]


def by_shape(case: Clustered, intervals: Intervals, replications: int) -> list[Tally | None]:
    def data(shape: Clusters) -> Callable[[Rng], tuple[Floats, Sequence[str]]]:
        def draw(rng: Rng) -> tuple[Floats, Sequence[str]]:
            sizes = shape.sizes(rng)
            number_N = np.repeat(np.arange(len(sizes)), sizes)
            return case.draw(rng, len(sizes), number_N), [str(i) for i in number_N]

        return draw

    return [tally(intervals, case.metric, data(s), case.truth, replications) for s in SHAPES]


# ---- tables


def line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def head(title: str, columns: Sequence[str]) -> None:
    print(f"\n### {title}\n\n{line('', columns)}\n|---|{'---|' * len(columns)}", flush=True)


ONE_SYSTEM = one_system()
TWO_SYSTEMS = two_systems()


def print_tables(replications: int, only: str = "") -> None:
    sizes, shapes = [f"n = {n:,}" for n in SIZES], [shape.name for shape in SHAPES]
    rejected: list[tuple[str, list[Tally | None]]] = []
    for title, columns, cases, row, intervals in (
        ("One system", sizes, ONE_SYSTEM, by_size, interval_of_one),
        ("One system, clusters", shapes, ONE_CLUSTERED, by_shape, interval_of_one),
        ("Two systems on the same rows", sizes, TWO_SYSTEMS, by_size, interval_of_two),
        ("Two systems, clusters", shapes, TWO_CLUSTERED, by_shape, interval_of_two),
    ):
        head(title, columns)
        for case in cases:
            if only not in case.name:
                continue
            found = row(case, intervals, replications)
            print(line(case.name, [t.cell if t else "" for t in found]), flush=True)
            if intervals is interval_of_two and case.truth == 0:
                rejected.append((case.name, found))
    for columns, width, where in ((sizes, len(SIZES), ""), (shapes, len(SHAPES), ", clusters")):
        head(f"p of 0.05 at most, both systems equally good{where}", columns)
        for name, found in rejected:
            if len(found) == width:
                print(line(name, [f"{t.rejects:.3f}" if t else "" for t in found]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    arguments = parser.parse_args()
    print_tables(arguments.replications, arguments.only)


if __name__ == "__main__":
    main()
