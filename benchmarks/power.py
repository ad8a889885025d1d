"""Whether what is said of power, of several trainings and of the learning curve holds.

    python benchmarks/power.py --replications 4000

Each cell draws samples from a known truth, states what tunesmith would state, and draws again to
see whether it holds. Markdown on stdout; docs/power.md has the tables.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from tunesmith.evaluate.compare import Resampling
from tunesmith.evaluate.crossed import crossed_mean, mean_covariance
from tunesmith.evaluate.forecast import forecast
from tunesmith.evaluate.metrics import GENERAL, OVER_TASKS
from tunesmith.evaluate.power import (
    mcnemar_power,
    rows_to_tell,
    smallest_accuracy_gain,
    smallest_detectable,
    smallest_detectable_effect,
)
from tunesmith.evaluate.statistics import estimate_mean, standard_error
from tunesmith.evaluate.tasks import over_tasks
from tunesmith.evaluate.trainings import compare_pairs, mean_estimate, pairs_as_a_sample
from tunesmith.records import Comparison, Estimate, Evaluation, TaskEvaluation

Rng = np.random.Generator
Floats = npt.NDArray[np.float64]
ROWS_IN_CLUSTER = 10
HOW = Resampling(confidence=0.95, resamples=2, seed=0)  # no number here is of resampling


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--replications", type=int, default=4000)
    count = parser.parse_args().replications
    for section in (known, stated, clustered, rows_that_would_tell, trainings, mixtures, curves):
        print(section(count, np.random.default_rng(0)), flush=True)


def table(title: str, head: Sequence[object], lines: Sequence[Sequence[object]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    text = "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
    return f"\n{title}\n\n{text}"


# ---- power


def differences(gain: float, discordant: float, size: tuple[int, ...], rng: Rng) -> Floats:
    """1, 0 or -1 a row; as many discordant rows as the gain needs."""
    discordant = min(1.0, max(discordant, gain))
    draws = rng.random(size)
    return (draws < (discordant + gain) / 2).astype(float) - (draws > 1 - (discordant - gain) / 2)


def found_by_mcnemar(values_RN: Floats) -> float:
    wins_R, losses_R = (values_RN > 0).sum(axis=1), (values_RN < 0).sum(axis=1)
    p_R = 2 * stats.binom.cdf(np.minimum(wins_R, losses_R), wins_R + losses_R, 0.5)
    return float(np.mean((p_R < 0.05) & (wins_R > losses_R)))


def known(count: int, rng: Rng) -> str:
    """What `plan` says where the discordance is as assumed."""
    shares = (0.1, 0.3, 0.5, 0.6)
    lines = []
    for n in (5, 20, 50, 100, 234, 1000):
        line: list[object] = [n]
        for share in shares:
            gain = smallest_accuracy_gain(n, share)
            if math.isnan(gain):
                line.append("none stated")
                continue
            power = found_by_mcnemar(differences(gain, share, (count, n), rng))
            line.append(f"{power:.3f} at {100 * gain:.1f} points")
        lines.append(line)
    title = "Power of exact McNemar at the gain that `plan` states, by share of discordant rows:"
    return table(title, ["rows", *(f"{100 * share:.0f} %" for share in shares)], lines)


def stated(count: int, rng: Rng) -> str:
    """Detectable as a report states it, from a sample, held against new samples."""
    shares = (0.1, 0.3, 0.5, 0.6)
    lines = []
    for n in (20, 50, 100, 234, 1000):
        line: list[object] = [n]
        for share in shares:
            clusters = list(map(str, range(n)))
            power = mean_power(
                lambda n=n, share=share: differences(0.05, share, (n,), rng),
                clusters,
                lambda gain, n=n, share=share: differences(gain, share, (1, n), rng),
                found_by_mcnemar,
                count // 4,
            )
            line.append(power)
        lines.append(line)
    title = "Power in new samples at the `Detectable` of a sample, by share of discordant rows:"
    return table(title, ["rows", *(f"{100 * share:.0f} %" for share in shares)], lines)


def mean_power(
    sample: Callable[[], Floats],
    clusters: list[str],
    again: Callable[[float], Floats],
    test: Callable[[Floats], float],
    count: int,
) -> str:
    found = []
    for _ in range(count):
        values_N = sample()
        gain = smallest_detectable(
            difference=float(values_N.mean()),
            se=standard_error(values_N, clusters),
            differences_N=values_N,
            differs_N=values_N != 0,
            clusters=clusters,
            binary=True,
            most=1.0,
        )
        if not math.isnan(gain):
            found.append(test(again(gain)))
    share = len(found) / count
    if not found:
        return "none stated"
    return f"{np.mean(found):.3f}" + ("" if share > 0.995 else f" (stated in {100 * share:.0f} %)")


def in_clusters(
    gain: float, discordant: float, alike: float, sizes: Sequence[int], rng: Rng
) -> Floats:
    """differences_N; a row has its cluster's value with probability `alike`, else its own."""
    own_N = differences(gain, discordant, (sum(sizes),), rng)
    of_cluster_N = np.repeat(differences(gain, discordant, (len(sizes),), rng), sizes)
    return np.where(rng.random(sum(sizes)) < alike, of_cluster_N, own_N)


def flips(clusters: int, rng: Rng) -> Floats:
    if clusters <= 10:
        return np.array(list(itertools.product((-1.0, 1.0), repeat=clusters)))
    return rng.choice((-1.0, 1.0), (2000, clusters))


def clustered(count: int, rng: Rng) -> str:
    """By clusters: what reports state (of a sample), and `plan`, which counts each cluster once."""
    lines = []
    shapes = {
        **{f"{c} of {ROWS_IN_CLUSTER} rows": [ROWS_IN_CLUSTER] * c for c in (5, 6, 10, 20, 50)},
        "20 of 1 to 20 rows": list(range(1, 21)),
    }
    for name, sizes in shapes.items():
        names = [str(i) for i, size in enumerate(sizes) for _ in range(size)]
        signs = flips(len(sizes), rng)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

        def test(values_1N: Floats, signs: Floats = signs, starts: Floats = starts) -> float:
            sums_C = np.add.reduceat(values_1N[0], starts)
            extreme = np.abs(signs @ sums_C) >= abs(sums_C.sum()) - 1e-9
            p = (extreme.sum() + (len(signs) == 2000)) / (len(signs) + (len(signs) == 2000))
            return float(p < 0.05 and sums_C.sum() > 0)

        line: list[object] = [name]
        for alike in (0.1, 0.5):
            line.append(
                mean_power(
                    lambda alike=alike, sizes=sizes: in_clusters(0.05, 0.3, alike, sizes, rng),
                    names,
                    lambda gain, alike=alike, sizes=sizes: in_clusters(
                        gain, 0.3, alike, sizes, rng
                    )[None],
                    test,
                    count // 2,
                )
            )
        gain = smallest_detectable_effect(len(sizes), 1.0)
        line.append("none stated" if math.isnan(gain) else f"{gain:.2f}")
        lines.append(line)
    title = (
        "Power of clustered randomisation in new samples at the `Detectable` of a sample, 30 % of "
        "rows discordant; last, the gain in standard deviations of a cluster's difference:"
    )
    head = ["clusters", "10 % of rows alike", "50 % of rows alike", "standard deviations"]
    return table(title, head, lines)


def rows_that_would_tell(count: int, rng: Rng) -> str:
    lines = []
    for n, gain, discordant in ((100, 0.03, 0.2), (200, 0.02, 0.25), (500, 0.03, 0.4)):
        needed = next(m for m in itertools.count(n, 20) if mcnemar_power(gain, m, discordant) > 0.8)
        least, seen = [], []
        while len(least) < count // 10:
            values = differences(gain, discordant, (n,), rng)
            mean, se = values.mean(), values.std(ddof=1) / math.sqrt(n)
            if not 0 < mean < 1.96 * se:
                continue
            wins, losses = int((values > 0).sum()), int((values < 0).sum())
            found = rows_to_tell(
                Comparison(
                    "a", "b", "accuracy", mean, se, se, (mean - 1.96 * se, mean + 1.96 * se), 0.3,
                    wins, n - wins - losses, losses, n, n, 0.1,
                )
            )  # fmt: skip
            assert found is not None
            assert found.least is not None
            least.append(found.least)
            seen.append(found.seen or math.inf)
        held = np.mean(np.array(least) <= needed)
        lines.append(
            [n, f"+{100 * gain:g}", f"{100 * discordant:g} %", f"{needed:,}",
             f"{np.median(least):,.0f}", f"{held:.3f}", f"{np.median(seen):,.0f}"]
        )  # fmt: skip
    title = "Rows that would tell, of undecided samples alone:"
    head = ["rows", "true gain", "discordant", "needed", "`at least`, median", "holds",
            "for the gain seen, median"]  # fmt: skip
    return table(title, head, lines)


# ---- several trainings


def trainings(count: int, rng: Rng) -> str:
    """Coverage by the luck of training, in standard errors of one training's difference."""
    n, lucks = 200, (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
    clusters = list(map(str, range(n)))
    lines = []
    for runs, rest in itertools.product((2, 3, 5), (0.25, 1.0)):
        line: list[object] = [runs, f"{rest:g}"]
        for luck in lucks:
            own_R = rng.normal(0, luck / math.sqrt(n), (count, runs))
            covered = 0
            for own in own_R:
                scores_NK = own + rng.normal(0, 1, (n, 1))
                scores_NK = scores_NK + rng.normal(0, math.sqrt(rest), (n, runs))
                found = crossed_mean(
                    scores_NK.mean(axis=0), mean_covariance(scores_NK, clusters), n
                )
                covered += abs(found.mean) <= found.half_width(0.95)
            line.append(f"{covered / count:.3f}")
        lines.append(line)
    title = (
        "Coverage of 95 % intervals over trainings, 200 rows, by the standard deviation between "
        "trainings in units of the rows' standard error; `rest` is the variance of a row between "
        "trainings over that between rows:"
    )
    head = ["trainings", "rest", *(f"{luck:g}" for luck in lucks)]
    return table(title, head, lines)


MIXTURE_ROWS = (15, 40, 80, 150)  # of each task
GAINS = (0.3, 0.1, 0.05, -0.05)  # of these tasks; others are drawn around their mean


def mixtures(count: int, rng: Rng) -> str:
    """Coverage over tasks and trainings, through the comparisons of evaluations themselves."""
    lines = []
    for runs, shared in itertools.product((2, 3, 5), (False, True)):
        line: list[object] = [runs, "the same" if shared else "own"]
        for luck in (0.0, 0.02, 0.05, 0.1):
            held = [mixture_holds(runs, luck, shared, rng) for _ in range(count // 4)]
            these, level, others = np.mean(held, axis=0)
            line.append(f"{these:.3f} / {level:.3f} / {others:.3f}")
        lines.append(line)
    title = (
        f"Coverage of 95 % intervals of the mean over {len(MIXTURE_ROWS)} tasks of "
        f"{', '.join(map(str, MIXTURE_ROWS))} rows, right or wrong: difference over these tasks / "
        "level over these tasks / difference over tasks of which these are a sample, by the "
        "standard deviation between trainings (0.05 is 5 points); rows of the tasks are their own, "
        "or those of the smaller ones are the same as the larger ones':"
    )
    return table(title, ["trainings", "rows", "0", "0.02", "0.05", "0.1"], lines)


def mixture_holds(runs: int, luck: float, shared: bool, rng: Rng) -> tuple[bool, bool, bool]:
    """Of fixed tasks the intervals of gain and level; of drawn ones that of the gain."""
    gains = np.array(GAINS)
    these = mixture(gains, runs, luck, shared, rng)
    drawn = mixture(rng.normal(gains.mean(), gains.std(), len(gains)), runs, luck, shared, rng)
    found = compare_pairs(these, OVER_TASKS, HOW)[0].ci
    level = mean_estimate([tuned for _, tuned in these], OVER_TASKS, HOW).ci
    sample = pairs_as_a_sample(drawn, compare_pairs(drawn, OVER_TASKS, HOW)[0], HOW).ci
    gain = float(gains.mean())
    return (
        found[0] <= gain <= found[1],
        level[0] <= 0.5 + gain <= level[1],
        sample[0] <= gain <= sample[1],
    )


def mixture(
    gains: Floats, runs: int, luck: float, shared: bool, rng: Rng
) -> list[tuple[Evaluation, Evaluation]]:
    """A base that has half of the rows of each task right, and trainings of it. How hard a row is
    is the same for all of them with probability 0.7; half of the luck of a training is that of all
    its tasks.
    """
    all_hard_N = rng.random(max(MIXTURE_ROWS))
    base: dict[str, TaskEvaluation] = {}
    tuned: list[dict[str, TaskEvaluation]] = [{} for _ in range(runs)]
    luck_K = rng.normal(0, luck * math.sqrt(0.5), runs)
    for number, (n, gain) in enumerate(zip(MIXTURE_ROWS, gains, strict=True)):
        hard_N = all_hard_N[:n] if shared else rng.random(n)
        rows = [f"{i}" if shared else f"{number}/{i}" for i in range(n)]

        def answered(share: float, n: int = n, hard_N: Floats = hard_N) -> Floats:
            own_N = np.where(rng.random(n) < 0.7, hard_N, rng.random(n))
            return (own_N < share).astype(float)

        name, own_K = str(number), rng.normal(0, luck * math.sqrt(0.5), runs)
        base[name] = scored("base", name, rows, answered(0.5))
        for k in range(runs):
            right_N = answered(0.5 + gain + luck_K[k] + own_K[k])
            tuned[k][name] = scored("tuned", name, rows, right_N)
    before = over_tasks("base", base, 0.95)
    return [(before, over_tasks("tuned", one, 0.95)) for one in tuned]


def scored(system: str, task: str, clusters: Sequence[str], right_N: Floats) -> TaskEvaluation:
    rows = {"accuracy": right_N[:, None], **dict.fromkeys(GENERAL, right_N[:, None])}
    evaluation = Evaluation(
        system=system,
        split="test",
        example_ids=[f"{task}:{cluster}" for cluster in clusters],
        clusters=clusters,
        predictions=[],
        scores={name: of[:, 0].tolist() for name, of in rows.items()},
        estimates={"accuracy": estimate_mean(right_N, clusters, proportion=True)},
        rows=rows,
    )
    return TaskEvaluation("accuracy", evaluation)


# ---- the learning curve


def curves(count: int, rng: Rng) -> str:
    lines = []
    for n, parts in itertools.product((300, 3000), (3, 4, 5)):
        line: list[object] = [n, parts]
        for luck in (0.0, 0.05, 0.2, 0.5):
            held = [curve_holds(n, parts, luck, rng) for _ in range(count // 4)]
            change, level = np.mean(held, axis=0)
            line.append(f"{change:.3f} / {level:.3f}")
        lines.append(line)
    title = (
        "Coverage of 95 % intervals of the forecast at twice the labels, change / level, by the "
        "standard deviation between trainings in log odds (0.2 is 5 points at 50 %):"
    )
    return table(title, ["test rows", "parts", "0", "0.05", "0.2", "0.5"], lines)


def curve_holds(n: int, parts: int, luck: float, rng: Rng) -> tuple[bool, bool]:
    """Rows are as hard for all parts with probability 0.7, else drawn anew."""
    expected = special.expit(-0.2 + 0.5 * np.arange(parts + 1))
    own = special.expit(-0.2 + 0.5 * np.arange(parts) + rng.normal(0, luck, parts))
    shared_N = rng.random(n)
    estimates = []
    for p in own:
        hard_N = np.where(rng.random(n) < 0.7, shared_N, rng.random(n))
        mean = float((hard_N < p).mean())
        estimates.append(Estimate(mean, n, math.sqrt(mean * (1 - mean) / n), (0.0, 1.0)))
    found = forecast([100 * 2**i for i in range(parts)], estimates, "accuracy")
    assert found.ci is not None
    assert found.level_ci is not None
    change = found.ci[0] <= expected[-1] - expected[-2] <= found.ci[1]
    return change, found.level_ci[0] <= expected[-1] <= found.level_ci[1]


if __name__ == "__main__":
    main()
