"""The same right and wrong answers, given to our verdict and to the gates of other tools.

    pip install --target PEERS/yobro --no-deps yobro==0.1.1
    pip install --target PEERS/finetunecheck --no-deps finetunecheck==2.0.2 diskcache
    pip install --target PEERS/soup --no-deps soup-cli==0.77.0
    pip install --target PEERS/litetune --no-deps litetune==0.6.0
    python benchmarks/verdicts.py --peers PEERS

A case is two systems' answers to the same rows, right or wrong. Each tool decides by its own code,
in a process of its own; one that also looks at general ability is told that none was lost. "No" is
a gate that does not open, or a claim that the model is not better: a tool without a third answer
says it wherever it cannot tell. What is wrong is "better" where nothing was gained, and "not
better", claimed as such, where something was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

Case = tuple[list[int], list[int]]
Decide = Callable[[Case], str]
BETTER, NO, OPEN = "better", "no", "cannot tell"
GENERAL = [1.0] * 30 + [0.0] * 10  # what every tool is told of general ability, before and after


# ---- the cases


@dataclass(frozen=True)
class Scenario:
    """Cases of one kind; `gain` says whether the tuned system is truly better."""

    name: str
    cases: tuple[Case, ...]
    gain: bool


def scenarios(replications: int) -> Iterator[Scenario]:
    """What the tools are asked."""
    rng = np.random.default_rng(0)
    for n in (50, 234):
        same = (rng.random(n) < 0.7).astype(int).tolist()
        yield Scenario(f"an identical model, n = {n}", ((same, same),), gain=False)
    base = [1] * 35 + [0] * 15
    yield Scenario("one row better of 50", ((base, [1] * 36 + [0] * 14),), gain=False)
    yield Scenario("labels shuffled, 20 seeds, n = 234", tuple(_shuffled(20)), gain=False)
    for n in (50, 234):
        cases = tuple(_pair(rng, n, 0.0) for _ in range(replications))
        yield Scenario(f"no true gain, n = {n}", cases, gain=False)
    for n in (50, 234):
        cases = tuple(_pair(rng, n, 0.05) for _ in range(replications))
        yield Scenario(f"a true gain of five points, n = {n}", cases, gain=True)


def _pair(rng: np.random.Generator, n: int, gain: float) -> Case:
    """Two systems that differ on a fifth of the rows, the second one better by `gain`."""
    kind = rng.choice(4, size=n, p=[0.6, 0.2, 0.1 - gain / 2, 0.1 + gain / 2])
    return np.isin(kind, (0, 2)).astype(int).tolist(), np.isin(kind, (0, 3)).astype(int).tolist()


def _shuffled(seeds: int) -> Iterator[Case]:
    """Two linear models of reviews, each trained on its own shuffle of the labels: neither knows
    anything.
    """
    import csv
    from importlib.resources import files

    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    with files("tunesmith").joinpath("assets/reviews.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    texts, labels = [row["review"] for row in rows], np.array([row["sentiment"] for row in rows])
    train, test = slice(234, None), slice(0, 234)
    features = TfidfVectorizer().fit_transform(texts)

    def right(seed: int) -> list[int]:
        shuffled = np.random.default_rng(seed).permutation(labels[train])
        model = LogisticRegression(C=10.0, max_iter=1000).fit(features[train], shuffled)
        return (model.predict(features[test]) == labels[test]).astype(int).tolist()

    for seed in range(seeds):
        yield right(1000 + seed), right(seed)


# ---- the tools


def ours() -> Decide:
    """tunesmith's first question."""
    from tunesmith.evaluate.compare import compare, evaluate
    from tunesmith.evaluate.verdict import default_margin, verdict
    from tunesmith.records import Example, Prediction

    def decide(case: Case) -> str:
        examples = [
            Example(f"{i}", f"{i}", "", "", "yes", ("yes",), ("yes", "no"))
            for i in range(len(case[0]))
        ]
        a, b = (
            evaluate(
                name,
                "test",
                examples,
                [
                    Prediction(e.id, ("no", "yes")[r], True, 1)
                    for e, r in zip(examples, right, strict=True)
                ],
                ["accuracy"],
                "choice",
            )
            for name, right in zip(("base", "tuned"), case, strict=True)
        )
        margin = default_margin("accuracy", a.estimates["accuracy"].mean)
        said = verdict(compare(a, b, "accuracy", resamples=1000), margin=margin)
        return {"better": BETTER, "not better": NO, "cannot tell": OPEN}[said.kind]

    return decide


def yobro() -> Decide:
    """The gate of its documentation: `improves(model)`, by the low end of its interval."""
    from yobro.evaluate import Report, Score, bootstrap
    from yobro.gate import gate, improves

    def decide(case: Case) -> str:
        scores = {
            name: np.array(right, float) for name, right in zip(("base", "v1"), case, strict=True)
        }
        stats, differences = bootstrap(scores, "base")
        n = len(case[0])
        report = Report("r", "test", "", "base", ["base", "v1"], 30)
        report.metrics = {"exact_match": {m: Score(*s, n) for m, s in stats.items()}}
        report.diffs = {"exact_match": {m: Score(*d, n) for m, d in differences.items()}}
        return BETTER if gate("ok", report, [improves("v1")]).passed else NO

    return decide


def finetunecheck() -> Decide:
    """Its verdict of a target task beside general and safety scores that did not change."""
    from finetunecheck.eval.runner import EvalRunner, compute_roi_details
    from finetunecheck.eval.scorer import Scorer
    from finetunecheck.models import JudgeVerdict

    def score(name: str, values: Sequence[float]) -> Any:
        judged = [JudgeVerdict(sample_id=str(i), score=v, status="MEASURED", explanation="")
                  for i, v in enumerate(values)]  # fmt: skip
        return Scorer.compute_category_scores(judged, name)

    def decide(case: Case) -> str:
        base, tuned = (
            {"task": score("task", right)}
            | {name: score(name, GENERAL) for name in ("general", "safety")}
            for right in case
        )
        runner = object.__new__(EvalRunner)
        runner.config = SimpleNamespace(target_tasks=["task"], hard_gates={}, verdict_weights={})
        runner._probes = [SimpleNamespace(name=name, provenance={}, samples=[]) for name in base]
        gain = Scorer.compute_target_improvement(base["task"], tuned["task"])
        lost = runner._compute_forgetting(base, tuned)
        rates = [r for r in lost.capability_retention_rates.values() if r is not None]
        roi = compute_roi_details(
            target_improvement=gain,
            bwt=lost.backward_transfer,
            sar=lost.safety_alignment_retention,
            sfi=lost.selective_forgetting_index,
            mean_crr=sum(rates) / len(rates),
        )
        said = runner._compute_verdict(gain, lost, base, tuned, roi)[0].value
        if said.startswith(("EXCELLENT", "GOOD")):
            return BETTER
        return OPEN if said.startswith("INSUFFICIENT") else NO

    return decide


def soup() -> Decide:
    """`soup ship`: the task's mean must rise, and no benchmark fall by more than its threshold."""
    from soup_cli.utils import ship_verdict

    def decide(case: Case) -> str:
        base, tuned = (sum(right) / len(right) for right in case)
        general = {"general": sum(GENERAL) / len(GENERAL)}
        said = ship_verdict.decide_ship(
            ship_verdict.build_task_win(ship_verdict.TASK_MODES[0], base, tuned),
            ship_verdict.compute_benchmark_deltas(general, general),
        )
        return BETTER if said.decision == ship_verdict.DECISION_SHIP else NO

    return decide


def litetune() -> Decide:
    """Whether its paired difference is resolved, and on which side; it judges conversions."""
    from litetune.metrics import paired_difference

    def decide(case: Case) -> str:
        found = paired_difference([bool(r) for r in case[1]], [bool(r) for r in case[0]])
        if not found.resolved:
            return OPEN
        return BETTER if found.value > 0 else NO

    return decide


TOOLS: dict[str, Callable[[], Decide]] = {
    "tunesmith": ours,
    "yobro": yobro,
    "finetunecheck": finetunecheck,
    "soup": soup,
    "litetune": litetune,
}


# ---- the table


def ask(tool: str, cases: Sequence[Case], peers: Path | None) -> list[str]:
    """The tool's decisions, from a process that has no other tool on its path."""
    if tool == "tunesmith":
        return [ours()(case) for case in cases]
    assert peers is not None
    result = subprocess.run(
        [sys.executable, __file__, "--as", tool],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(peers / tool)},
        check=False,
    )
    if result.returncode:
        raise SystemExit(f"{tool} failed:\n{result.stderr}")
    decisions: list[str] = json.loads(result.stdout)
    return decisions


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, or answer as one of the tools."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--peers", type=Path, help="a folder with one folder for each tool")
    parser.add_argument("--replications", type=int, default=500)
    parser.add_argument("--as", dest="tool", choices=[t for t in TOOLS if t != "tunesmith"])
    given = parser.parse_args(argv)
    if given.tool:
        decide = TOOLS[given.tool]()
        print(json.dumps([decide((a, b)) for a, b in json.load(sys.stdin)]))
        return
    there = [t for t in TOOLS if t == "tunesmith" or (given.peers and (given.peers / t).is_dir())]
    print(f"| better / cannot tell / no | {' | '.join(there)} |")
    print(f"|---|{'---|' * len(there)}")
    for scenario in scenarios(given.replications):
        cells = []
        for tool in there:
            counts = Counter(ask(tool, scenario.cases, given.peers))
            cells.append(" / ".join(str(counts[kind]) for kind in (BETTER, OPEN, NO)))
        wanted = "better" if scenario.gain else "not better, or cannot tell"
        print(f"| {scenario.name} (right: {wanted}) | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
