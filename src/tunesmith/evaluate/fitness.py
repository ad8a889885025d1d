"""Does a metric fit the answers that it is to judge?

Found on the right answers alone, before anything is trained. A metric that fits gives the perfect
score to each right answer as its own answer, and not to another row's. In scripts without spaces
half of an answer must get a part of the score, or whole sentences would count as words; in other
scripts than Latin, what is left of an answer without its letters must not get all of it.
"""

from __future__ import annotations

import json
import logging
import random
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tunesmith.errors import DataError
from tunesmith.evaluate.metrics import METRICS, Answers, Metric
from tunesmith.evaluate.metrics.rouge import mostly_other_letters
from tunesmith.evaluate.metrics.translation import has_tokenizer
from tunesmith.evaluate.parse import parse
from tunesmith.evaluate.statistics import Floats
from tunesmith.recipe import DEFAULT_METRIC_OPTIONS, MetricOptions
from tunesmith.records import Example, Prediction

SAMPLE = 200
# ROUGE-L and TER take time with the square of the answers' length
LEAST_SAMPLE, SAMPLE_CHARACTERS = 20, 20_000
MOST = 0.5  # of the rows: a metric that fails on more of them does not fit
FEW = 0.05  # of the way from an empty answer to a perfect one: no part of the score
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
ANOTHERS = "takes the right answer of another row for right"
UNSPACED_LETTERS = 4  # from which an answer is more than a word

Pairs: TypeAlias = Sequence[tuple[Example, str]]
"""Examples, and an answer to each."""


@dataclass(frozen=True)
class Misfit:
    """How a metric fails, in words (`what`), on `failed` of the `tried` rows.

    `row` and `answer` are the first such example and what was tried as its answer, `score` is what
    that was given.
    """

    metric: str
    what: str
    failed: int
    tried: int
    row: Example
    answer: str
    score: float
    perfect: float

    @property
    def fits(self) -> bool:
        """Whether the metric can still be used, its score being lower for it."""
        return self.failed <= MOST * self.tried

    def __str__(self) -> str:
        where, right = self.row.source or self.row.id, _right(self.row)
        place = (
            f"the right answer of {where}, {_shown(self.answer)},"
            if self.answer in right
            else f"for {where}, where {_shown(right[0])} is right, {_shown(self.answer)}"
        )
        return (
            f"{self.metric} {self.what} in {self.failed} of {self.tried} rows: {place} scores "
            f"{self.score:.3g}, and {self.perfect:g} is perfect"
        )


def check_fitness(
    examples: Sequence[Example],
    judged: Sequence[str],
    others: Sequence[str],
    parser: str,
    options: MetricOptions = DEFAULT_METRIC_OPTIONS,
) -> list[str]:
    """Notes on metrics that fail on some rows, and on `others` that do not fit.

    Raises:
        DataError: a metric of `judged` does not fit these answers; the hint names one that does.
    """
    rows = sampled(examples)
    found = [find_misfit(name, rows, parser, options) for name in dict.fromkeys((*judged, *others))]
    misfits = [misfit for misfit in found if misfit is not None]
    for misfit in misfits:
        if misfit.metric in judged and not misfit.fits:
            raise DataError(str(misfit), hint=_remedy(misfit.metric, rows, parser))
    return [str(misfit) for misfit in by_family(misfits)]


def by_family(misfits: Iterable[Misfit]) -> list[Misfit]:
    """Metrics that fail alike (ROUGE-1, ROUGE-2 ...) as one."""
    names: dict[Misfit, list[str]] = {}
    for misfit in misfits:
        names.setdefault(replace(misfit, metric=""), []).append(misfit.metric)
    return [replace(misfit, metric=", ".join(found)) for misfit, found in names.items()]


def sampled(examples: Sequence[Example]) -> list[Example]:
    """At most SAMPLE of the examples in their order, fewer where answers are long; always the
    same ones.
    """
    drawn = random.Random(0).sample(range(len(examples)), min(SAMPLE, len(examples)))
    sizes = np.cumsum([len(_right(examples[i])[0]) for i in drawn])
    enough = max(LEAST_SAMPLE, int(np.searchsorted(sizes, SAMPLE_CHARACTERS)))
    return [examples[i] for i in sorted(drawn[:enough])]


def find_misfit(
    name: str,
    examples: Sequence[Example],
    parser: str,
    options: MetricOptions = DEFAULT_METRIC_OPTIONS,
) -> Misfit | None:
    """The first test that the metric fails on some of the rows; those on most rows come first."""
    # what a perfect score is, an installed metric does not say
    if name not in METRICS or not METRICS[name].uses_reference:
        return None
    found = [
        misfit
        for misfit in _misfits(name, examples, parser, options)
        # answers that differ in case or punctuation alone may well be the same to a metric
        if not (misfit.fits and misfit.what == ANOTHERS)
    ]
    return min(found, key=lambda misfit: misfit.fits, default=None)


def _misfits(
    name: str, examples: Sequence[Example], parser: str, options: MetricOptions
) -> Iterator[Misfit]:
    metric = METRICS[name]
    perfect = _perfect(metric)
    for what, answers, is_wrong in _tests(metric, perfect):
        pairs = answers(examples, parser)
        scores = _scores(metric, pairs, parser, options) if pairs else np.zeros(0)
        failed = np.flatnonzero(is_wrong(scores) | ~np.isfinite(scores))
        if len(failed):
            (row, answer), score = pairs[int(failed[0])], float(scores[failed[0]])
            count = len(failed) * len(pairs) // len(scores)  # a corpus metric has one score for all
            yield Misfit(name, what, count, len(pairs), row, answer, score, perfect)


Flags: TypeAlias = npt.NDArray[np.bool_]
Test: TypeAlias = tuple[str, Callable[[Sequence[Example], str], Pairs], Callable[[Floats], Flags]]


def _tests(metric: Metric, perfect: float) -> list[Test]:
    """What is said of a metric that fails, the answers that are tried, and which scores fail."""

    def is_perfect(scores: Floats) -> Flags:
        return np.isclose(scores, perfect)

    def is_all_or_nothing(scores: Floats) -> Flags:
        worst = 100 if metric.unit == "points" else 1
        part = scores / perfect if perfect else 1 - scores / worst
        return (part < FEW) | np.isclose(part, 1)

    tests: list[Test] = [
        ("takes the right answer for wrong", _own, lambda scores: ~is_perfect(scores))
    ]
    if metric.per_example or metric.by_class:  # numbers in order correlate with their neighbours
        tests.append((ANOTHERS, _anothers, is_perfect))
    if metric.parsers == ("text",) and not metric.binary and metric.unit != "plain":
        tests += [
            ("takes a sentence for a word", _halves, is_all_or_nothing),
            ("reads none of the letters", _without_letters, is_perfect),
        ]
    return tests


def _perfect(metric: Metric) -> float:
    if not metric.higher_is_better:
        return 0.0
    return 100.0 if metric.unit == "points" else 1.0


def _scores(metric: Metric, pairs: Pairs, parser: str, options: MetricOptions) -> Floats:
    """A score for each answer; one for all where only the whole has one."""
    examples = [example for example, _ in pairs]
    predictions = [Prediction(example.id, text, True, 0) for example, text in pairs]
    with _quiet():
        rows_ND = metric.rows(Answers(examples, predictions, parser, options))
    if metric.per_example:
        return rows_ND[:, 0]
    if metric.by_class:  # on a sample without some class the whole is not perfect
        return metric.row_quality(rows_ND)
    return metric.value(np.ones((1, len(pairs))), rows_ND)


@contextmanager
def _quiet() -> Iterator[None]:
    """sacrebleu warns of answers that look tokenised, which is worth saying once, when scoring."""
    logger = logging.getLogger("sacrebleu")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


# ---- the answers that are tried


def _right(example: Example) -> tuple[str, ...]:
    return example.references or (example.completion,)


def _own(examples: Sequence[Example], _: str) -> Pairs:
    return [(example, text) for example in examples for text in _right(example)]


def _anothers(examples: Sequence[Example], parser: str) -> Pairs:
    """The next row's first right answer that says something else than this row's."""
    read = {text: _read(text, parser) for example in examples for text in _right(example)}
    texts = list(dict.fromkeys(_right(example)[0] for example in examples))
    pairs = []
    for number, example in enumerate(examples):
        own = {read[text] for text in _right(example)}
        places = (texts[(number + step) % len(texts)] for step in range(len(texts)))
        other = next((text for text in places if read[text] not in own), None)
        pairs += [] if other is None else [(example, other)]
    return pairs


def _read(text: str, parser: str) -> str:
    if parser == "json":
        return json.dumps(parse(text, parser), sort_keys=True)
    try:
        # by Python's rules, not the parser's: 1,5 and 2,5 differ, whatever a parser makes of them
        return f"{float(text):g}"
    except ValueError:
        return text.strip().casefold()


def _halves(examples: Sequence[Example], _: str) -> Pairs:
    """The first half of each answer in a script without spaces."""
    return [
        (example, text[: len(text) // 2])
        for example in examples
        for text in [_right(example)[0].strip()]
        if len(_right(example)) == 1 and _is_unspaced(text)
    ]


def _without_letters(examples: Sequence[Example], _: str) -> Pairs:
    """Each answer in other letters than a to z, without them."""
    return [
        (example, "".join(letter if letter.isascii() else " " for letter in text))
        for example in examples
        for text in [_right(example)[0].strip()]
        if len(_right(example)) == 1 and mostly_other_letters(text)
    ]


def _is_unspaced(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    found = sum(unicodedata.name(letter, "").startswith(UNSPACED) for letter in letters)
    return found >= UNSPACED_LETTERS and found > len(letters) / 2


# ---- what to do


def _remedy(name: str, examples: Sequence[Example], parser: str) -> str:
    """The first of a few other ways that fits the same rows."""
    for words, metric, options in _others(name, examples, parser):
        found = find_misfit(metric, examples, parser, options)
        if found is None or found.fits:
            return words
    return "look at the right answers with `tunesmith preview`"


def _others(
    name: str, examples: Sequence[Example], parser: str
) -> Iterator[tuple[str, str, MetricOptions]]:
    if name == "bleu":
        for tokenize in _tokenizers(examples):
            options = MetricOptions.model_validate({"bleu": {"tokenize": tokenize}})
            words = f"evaluation.metric_options.bleu.tokenize={tokenize} in a recipe"
            yield f"set {words}, --tokenize {tokenize} for `tunesmith score`", name, options
    for metric in ("chrf", "exact_match") if parser == "text" else ("exact_match",):
        if metric != name:
            words = f"use {metric}: evaluation.metrics=[{metric}] in a recipe, --metric {metric}"
            yield f"{words} for `tunesmith score`", metric, DEFAULT_METRIC_OPTIONS


def _tokenizers(examples: Sequence[Example]) -> list[str]:
    """Of BLEU, for scripts without spaces: the best one first."""
    if not any(_is_unspaced(_right(example)[0]) for example in examples):
        return []
    text = "".join(_right(example)[0] for example in examples)
    names = {unicodedata.name(character, "").split(" ")[0] for character in set(text)}
    if names & {"HIRAGANA", "KATAKANA"}:
        return [*(["ja-mecab"] if has_tokenizer("ja-mecab") else []), "char"]
    return ["zh", "char"]


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
