"""Reports of made-up runs: one that classifies reviews, one that summarises."""

from __future__ import annotations

import csv
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import tunesmith
from tunesmith.evaluate.decisions import (
    Broken,
    Calibration,
    Confidences,
    Gate,
    SliceFinding,
    SliceRow,
    Threshold,
)
from tunesmith.evaluate.preference import Agreement, Count, Preference
from tunesmith.records import (
    Comparison,
    Estimate,
    Evaluation,
    Example,
    Prediction,
    Question,
    RetentionRow,
    TwinScores,
    Unreadable,
)
from tunesmith.report.content import CurvePoint, Report
from tunesmith.report.tables import ClassScores

LABELS = ("negative", "positive")
N = 78


@pytest.fixture(scope="session")
def report() -> Report:
    return classify_report()


@pytest.fixture(scope="session")
def graded_report() -> Report:
    return summarise_report()


def classify_report() -> Report:
    examples = _review_examples()
    rng = random.Random(7)
    shares = {
        "base": 0.42,
        "base_few_shot": 0.47,
        "majority": 0.45,
        "tfidf_linear": 0.66,
        "tuned": 0.9,
    }
    evaluations = [_classified(name, share, examples, rng) for name, share in shares.items()]
    tuned = evaluations[-1]
    best = _compared(evaluations[-2], tuned)
    return Report(
        name="reviews",
        verdict_kind="better",
        verdict=f"Better: accuracy {tuned.estimates['accuracy'].mean:.3f} on {N} unseen rows, "
        f"{best.difference:+.3f} against the best baseline, the linear model "
        f"(95 % interval {best.ci[0]:+.3f} to {best.ci[1]:+.3f}).",
        primary_metric="accuracy",
        evaluations=evaluations,
        comparisons=[_compared(e, tuned) for e in reversed(evaluations[:-1])],
        examples={example.id: example for example in examples},
        history=_history(120, 40),
        best_step=80,
        training={
            "seconds": 48.2,
            "rows_per_second": 38.9,
            "trained_tokens": 3741,
            "tokens": 121_904,
            "steps": 120,
            "parameters": 4_812_032,
            "peak_memory_bytes": 710_000_000,
            "notes": ["added a pad token", "float32: this machine has no fast bfloat16"],
        },
        data={
            "rows": {
                "raw": 780,
                "unreadable": 0,
                "duplicates": 3,
                "leaked": 0,
                "not_drawn": 0,
                "rejected": 1,
                "kept": 776,
            },
            "rejected": {"too_long": 1},
            "dropped_examples_of_kept_rows": {},
            "conflicting_rows": 2,
            "near_duplicate_clusters": 4,
            "shortened": {},
            "splits": {
                "train": {
                    "rows": 621,
                    "rejected": 1,
                    "examples": 621,
                    "tokens": 40_633,
                    "trained_tokens": 1247,
                },
                "validation": {
                    "rows": 77,
                    "rejected": 0,
                    "examples": 77,
                    "tokens": 5_060,
                    "trained_tokens": 154,
                },
                "test": {
                    "rows": 78,
                    "rejected": 0,
                    "examples": 78,
                    "tokens": 5_112,
                    "trained_tokens": 156,
                },
            },
            "notes": [],
        },
        recipe={
            "model": "HuggingFaceTB/SmolLM2-135M",
            "data": {
                "source": "reviews.csv",
                "task": "classify",
                "columns": {"text": "review", "label": "sentiment"},
            },
            "train": {
                "num_train_epochs": 3,
                "learning_rate": 2e-5,
                "train_batch_size": 16,
                "seed": 0,
            },
            "evaluation": {"few_shot": 4, "metrics": ["accuracy", "macro_f1"]},
            "output_dir": "runs/reviews",
        },
        versions={
            "python": "3.11.7",
            "tunesmith": "0.1.0",
            "torch": "2.13.0",
            "transformers": "5.24.0",
        },
        notes=["the context of the base model holds 3 of the 4 few-shot exemplars"],
        twins=TwinScores(
            N,
            8,
            "8 of the 78 test rows have a near-twin in training.",
            replace(best, n=70, difference=0.2, ci=(0.1, 0.3)),
            (0.6, 0.8),
        ),
        unreadable=[Unreadable("base", 0.34)],
        retention=[
            RetentionRow(
                "General text", "bits_per_byte", 1.912, 1.934, 0.022, (0.015, 0.029), 0.010, 400
            ),
            RetentionRow(
                "Encyclopedia entries",
                "bits_per_byte",
                2.204,
                2.201,
                -0.003,
                (-0.012, 0.006),
                0.013,
                250,
            ),
        ],
        wordings={
            "Wordings seen in training": evaluations[:2],
            "Wordings kept for evaluation": evaluations[3:],
        },
        learning_curve=[
            CurvePoint(0.25, 155, Estimate(0.628, N, 0.055, (0.517, 0.727))),
            CurvePoint(0.5, 310, Estimate(0.731, N, 0.050, (0.623, 0.816))),
            CurvePoint(1.0, 621, tuned.estimates["accuracy"]),
        ],
        command="tunesmith run recipe.yaml --output-dir runs/reviews",
        slices=[
            _slice_row("2", "worse", -0.3),
            _slice_row("4", "no difference shown", 0.0),
            _slice_row("1", "better", 0.3),
            _slice_row("3", "too small to judge", -0.4, n=3),
        ],
        broken=_broken(),
        gates=_gates(),
        calibration=_calibration(),
        preferences=_preferences(),
        heading="Better than its base and a cheap linear model",
        questions=_questions(best),
        slice_of={"stars": {example.id: str(1 + i % 5) for i, example in enumerate(examples)}},
        prepared="2026-03-01T10:00:00+00:00",
        tested="2026-03-02T10:00:00+00:00",
        licence="apache-2.0",
    )


def _questions(best: Comparison) -> list[Question]:
    """Yes to the task and to the cheap alternative; general language was not measured enough."""
    gain = (best.difference, best.ci, 0.01, 0.679, 0.923)
    return [
        Question("task", "Right on the task", "yes", "It is better.", "accuracy", "base", *gain),
        Question(
            "cheaper",
            "Beats the cheap alternative",
            "yes",
            "It is better than that, too.",
            "accuracy",
            "tfidf_linear",
            *gain,
        ),
        Question(
            "kept",
            "Kept its general language",
            "cannot tell",
            "These texts cannot tell.",
            "bits_per_byte",
            "General text",
            *(-0.022, (-0.029, -0.015), 0.02, 1.912, 1.934),
        ),
    ]


def _preferences() -> list[Preference]:
    """Three people, and a model that was asked about the same pairs."""
    people = Preference(
        kind="people",
        judge="3 people",
        a="base_few_shot",
        b="tuned",
        count=Count(
            24,
            6,
            10,
            Estimate(0.675, 40, 0.07, (0.52, 0.8)),
            0.024,
            Estimate(0.53, 34, 0.09, (0.37, 0.69)),
        ),
        first=Estimate(0.49, 101, 0.05, (0.39, 0.59)),
        agreement=Agreement(0.58, 0.75, 118),
        rows=N,
        same=31,
    )
    model = replace(
        people,
        kind="model",
        judge="some-judge-7b",
        agreement=Agreement(0.41, 0.65, 40),
        first=Estimate(0.61, 66, 0.06, (0.49, 0.72)),
        inconsistent=0.175,
        unreadable=2,
    )
    return [people, model]


def summarise_report() -> Report:
    examples = [
        replace(e, completion=e.prompt.split()[-4], choices=()) for e in _review_examples()[:30]
    ]
    rng = random.Random(3)
    evaluations = [
        _summarised(name, quality, examples, rng)
        for name, quality in (("base", 0.1), ("tuned", 0.16))
    ]
    return replace(
        classify_report(),
        verdict_kind="cannot_tell",
        verdict="Cannot tell with 30 rows; about 160 rows would: ROUGE-L rose by 0.03 "
        "(95 % interval -0.02 to +0.08).",
        primary_metric="rougeL",
        evaluations=evaluations,
        comparisons=[_compared(evaluations[0], evaluations[1], "rougeL")],
        examples={example.id: example for example in examples},
        retention=(),
        wordings={},
        learning_curve=(),
        slices=(),
        broken=None,
        gates=(),
        calibration=None,
        heading="",
        questions=(),
        slice_of={},
    )


def _slice_row(
    value: str, finding: SliceFinding, difference: float, slicing: str = "stars", n: int = 40
) -> SliceRow:
    """A part of the reviews; the interval is 0.1 to either side."""
    ends = (difference - 0.1, difference + 0.1)
    before, now = (Estimate(mean, n, 0.05, (mean, mean)) for mean in (0.8, 0.8 + difference))
    compared = Comparison(
        "base", "tuned", "accuracy", difference, 0.05, 0.05, ends, 0.01, 1, 2, 3, n, n, 0.1
    )
    return SliceRow(slicing, value, before, now, compared, 0.02, 0.315, finding)


def _calibration() -> Calibration:
    """As of reviews of which the model answers four in five."""
    share = Estimate(0.81, 78, 0.04, (0.77, 0.85))
    right = Estimate(0.96, 63, 0.02, (0.93, 0.98))
    error = Estimate(0.04, 78, 0.01, (0.0, 0.06))
    titles = ("Base model", "Tuned model", "Tuned model, with temperature")
    curve = ((0.5, 0.01), (1.0, 0.08))
    systems = tuple(
        Confidences(title.split()[0].lower(), title, 1.0, share, error, 0.03, error, 0.02, curve)
        for title in titles
    )
    fitted = Threshold(1.15, 0.93, 0.95, 0.95, 200, 150, 149, 0.953, 104, LABELS)
    return Calibration(fitted, systems, share, right)


def _broken() -> Broken:
    return Broken("base", "accuracy", N, 2, 40, Estimate(0.0256, N, 0.02, (0.007, 0.089)), False)


def _gates() -> list[Gate]:
    gain, broken = "gain in accuracy over base", "rows right before (base) and wrong now"
    return [
        Gate("least_gain", gain, 0.02, 0.3, (0.2, 0.4), "passed", "the lower end is 0.2"),
        Gate("largest_broken_share", broken, 0.01, 0.026, (0.007, 0.089), "cannot tell", "2 of 78"),
    ]


def _review_examples() -> list[Example]:
    path = Path(tunesmith.__file__).parent / "assets" / "reviews.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:: 780 // N][:N]
    return [
        Example(
            id=f"{row['id']}/default",
            row_id=row["id"],
            template="default",
            prompt=f"Label the text as one of: {', '.join(LABELS)}.\n\n"
            f"Text: {row['review']}\nLabel:",
            completion=row["sentiment"],
            references=(row["sentiment"],),
            choices=LABELS,
            split="test",
            source=f"reviews.csv:{i}",
        )
        for i, row in enumerate(rows, 2)
    ]


def _classified(
    system: str, share: float, examples: list[Example], rng: random.Random
) -> Evaluation:
    right = [rng.random() < share for _ in examples]
    answers = [
        e.completion if ok else rng.choice([x for x in LABELS if x != e.completion])
        for e, ok in zip(examples, right, strict=True)
    ]
    details: dict[str, object] = {
        "parser": "choice",
        "warnings": [],
    }
    details["given_valid"] = {
        "accuracy": Estimate(
            share / 0.9, 70, 0.05, (share / 0.9 - 0.1, min(1.0, share / 0.9 + 0.1))
        )
    }
    details |= {
        "per_class": _per_class(examples, answers),
        "confusion": _confusion(examples, answers),
    }
    scores = {
        "accuracy": [float(ok) for ok in right],
        "stopped": [float(system != "base")] * len(right),
    }
    estimates = {
        "accuracy": _estimate(scores["accuracy"]),
        "macro_f1": Estimate(share - 0.03, N, 0.05, (share - 0.13, share + 0.06)),
        "valid": Estimate(
            0.81 if system == "base" else 1.0,
            N,
            0.0,
            (0.71, 0.88) if system == "base" else (0.95, 1.0),
        ),
        "stopped": Estimate(
            scores["stopped"][0], N, 0.0, (0.0, 0.05) if system == "base" else (0.95, 1.0)
        ),
        "empty": Estimate(0.0, N, 0.0, (0.0, 0.05)),
    }
    found = _evaluation(system, examples, answers, scores, estimates, details)
    return replace(
        found,
        rows={"accuracy": np.zeros((len(examples), 1)), "macro_f1": _counts(examples, answers)},
    )


def _counts(examples: list[Example], answers: list[str]) -> npt.NDArray[np.float64]:
    """As macro F1 keeps them: right, answered and true class, one-hot each."""
    true = np.array([[e.completion == label for label in LABELS] for e in examples])
    answered = np.array([[answer == label for label in LABELS] for answer in answers])
    return np.hstack([true & answered, answered, true]).astype(float)


def _summarised(
    system: str, quality: float, examples: list[Example], rng: random.Random
) -> Evaluation:
    values = [min(1.0, max(0.0, rng.gauss(quality, 0.1))) for _ in examples]
    answers = [" ".join(e.prompt.split()[9 : 9 + rng.randint(0, 14)]) for e in examples]
    scores = {"rougeL": values}
    return _evaluation(system, examples, answers, scores, {"rougeL": _estimate(values)}, {})


def _evaluation(
    system: str,
    examples: list[Example],
    answers: list[str],
    scores: dict[str, list[float]],
    estimates: dict[str, Estimate],
    details: dict[str, object],
) -> Evaluation:
    ids = [example.id for example in examples]
    predictions = [Prediction(id, text, True, 3) for id, text in zip(ids, answers, strict=True)]
    return Evaluation(system, "test", ids, ids, predictions, scores, estimates, details)


def _estimate(values: list[float]) -> Estimate:
    mean = sum(values) / len(values)
    se = (sum((v - mean) ** 2 for v in values) / len(values) ** 2) ** 0.5
    return Estimate(mean, len(values), se, (max(0.0, mean - 1.96 * se), min(1.0, mean + 1.96 * se)))


def _compared(a: Evaluation, b: Evaluation, metric: str = "accuracy") -> Comparison:
    gains = [y - x for x, y in zip(a.scores[metric], b.scores[metric], strict=True)]
    found = _estimate([(g + 1) / 2 for g in gains])
    mean, se, n = 2 * found.mean - 1, 2 * found.se, len(gains)
    wins, losses = sum(g > 0 for g in gains), sum(g < 0 for g in gains)
    low, high = mean - 1.96 * se, mean + 1.96 * se
    p = 0.0004 if low > 0 else 0.4
    ties = n - wins - losses
    return Comparison(
        a.system, b.system, metric, mean, se, se, (low, high), p, wins, ties, losses, n, n,
        2.8 * se, "exact McNemar",
    )  # fmt: skip


def _per_class(examples: list[Example], answers: list[str]) -> list[ClassScores]:
    pairs = [(e.completion, answer) for e, answer in zip(examples, answers, strict=True)]
    found = []
    for label in LABELS:
        right = pairs.count((label, label))
        answered, n = sum(got == label for _, got in pairs), sum(true == label for true, _ in pairs)
        scores = {
            "precision": right / max(1, answered),
            "recall": right / n,
            "f1": 2 * right / (answered + n),
        }
        found.append({"label": label, **scores, "n": n})
    return found


def _confusion(examples: list[Example], answers: list[str]) -> dict[str, object]:
    pairs = [(e.completion, answer) for e, answer in zip(examples, answers, strict=True)]
    return {
        "labels": list(LABELS),
        "counts": [[pairs.count((true, got)) for got in (*LABELS, "")] for true in LABELS],
    }


def _history(steps: int, every: int) -> list[dict[str, float]]:
    rng = random.Random(1)
    history: list[dict[str, float]] = []
    for step in range(1, steps + 1):
        loss = 0.35 + 2.2 / (1 + step / 9) + rng.gauss(0, 0.06)
        history.append(
            {
                "step": step,
                "epoch": step / every,
                "loss": loss,
                "learning_rate": 1e-3 * (1 - step / steps),
            }
        )
        if step % every == 0:
            turn = step // every
            history.append(
                {
                    "step": step,
                    "validation_loss": (0.61, 0.52, 0.55)[turn - 1],
                    "validation_accuracy": 0.6 + 0.1 * turn,
                }
            )
    return history
