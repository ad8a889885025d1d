"""BLEU, chrF and TER by sacrebleu with its defaults, 0 to 100.

sacrebleu sums statistics of the rows and computes the score from the sums; so do we, which makes
resamples cheap.
"""

from __future__ import annotations

from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np

from tunesmith.evaluate.metrics.base import Answers, Metric, from_sums
from tunesmith.evaluate.statistics import Floats

NAMES = ("bleu", "chrf", "ter")


def _metric(name: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    return {"bleu": BLEU, "chrf": CHRF, "ter": TER}[name]()


def _statistics(name: str, answers: Answers) -> Floats:
    """sacrebleu's own statistics of each row."""
    streams = list(
        zip_longest(*answers.references)
    )  # one stream for each place; None where a row has fewer
    return np.array(_metric(name)._extract_corpus_statistics(answers.texts, streams), dtype=float)


def _bleu(sums_RD: Floats) -> Floats:
    return _of_sums(_metric("bleu"), sums_RD.round().astype(int))


def _chrf(sums_RD: Floats) -> Floats:
    return _of_sums(_metric("chrf"), sums_RD)


def _ter(sums_RD: Floats) -> Floats:
    return _of_sums(_metric("ter"), sums_RD)


def _negative_ter(rows_ND: Floats) -> Floats:
    return -_ter(rows_ND)


def _of_sums(metric: Any, sums_RD: Any) -> Floats:
    return np.array([metric._compute_score_from_stats(sums).score for sums in sums_RD.tolist()])


def signature(name: str, answers: Answers) -> str:
    """sacrebleu's signature: what must be the same for two scores to be comparable."""
    metric = _metric(name)
    counts = {len(references) for references in answers.references}
    metric.num_refs = counts.pop() if len(counts) == 1 else -1
    return f"{type(metric).__name__}|{metric.get_signature()}"


METRICS: dict[str, Metric] = {
    "bleu": from_sums(partial(_statistics, "bleu"), _bleu, quality=_bleu, unit="points"),
    "chrf": from_sums(partial(_statistics, "chrf"), _chrf, quality=_chrf, unit="points"),
    "ter": from_sums(
        partial(_statistics, "ter"),
        _ter,
        quality=_negative_ter,
        unit="points",
        higher_is_better=False,
    ),
}
