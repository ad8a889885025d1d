"""What training cost elsewhere: bits per byte on general text, before and after, paired by piece of
text.

Shape suffixes: B windows of a batch, T tokens of the longest one, N tokens scored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith.errors import DataError
from tunesmith.evaluate.forward import (
    Inputs,
    Traits,
    evaluating,
    pass_tokens,
    target_logprobs,
    token_batches,
)
from tunesmith.evaluate.power import smallest_detectable_effect
from tunesmith.evaluate.statistics import (
    Floats,
    Kind,
    paired_difference,
)

MIN_PIECE = 400  # characters: shorter paragraphs are joined with the next
MAX_PIECE = 4000  # longer ones are cut between words


@dataclass(frozen=True, slots=True)
class TextScore:
    """Negative log-likelihood of one text in nats, and its length in bytes of UTF-8."""

    nll: float
    num_bytes: int


@dataclass(frozen=True, slots=True)
class TextChange:
    """Bits per byte of `n` texts before and after training; a positive `difference` is a loss.

    `detectable` is the smallest change that this many texts would have shown at 80 % power. Where
    no interval would hold, `ci` is (nan, nan) and `note` says why.
    """

    before: float
    after: float
    difference: float
    ci: tuple[float, float]
    detectable: float
    n: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Window:
    """`ids[i]` is scored for i >= first; the tokens before it are context."""

    text: int
    ids: list[int]
    first: int


def read_texts(path: Path, limit: int = 1000) -> list[str]:
    """A text file in pieces of whole paragraphs, 400 to 4000 characters; at most `limit`, spread
    over the file.

    Raises DataError for a file that is not UTF-8 text or holds fewer than two pieces, which no
    interval can be had of.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as text: {error}",
            hint="evaluation.panel takes UTF-8 text files",
        ) from error
    pieces = list(_pieces(text))
    if len(pieces) < 2:
        raise DataError(
            f"{path}: {len(pieces)} pieces of at least {MIN_PIECE} characters, 2 are needed",
            hint="give a longer text, with blank lines between its paragraphs",
        )
    step = max(1.0, len(pieces) / limit)
    return [pieces[int(i * step)] for i in range(min(limit, len(pieces)))]


def _pieces(text: str) -> Iterator[str]:
    """Paragraphs joined and cut to size; a remainder that is too short is left out."""
    gathered = ""
    for paragraph in re.split(r"\n\s*\n", text):
        gathered = f"{gathered}\n\n{paragraph.strip()}".strip()
        while len(gathered) > MAX_PIECE:
            cut = gathered.rfind(" ", MIN_PIECE, MAX_PIECE)
            cut = MAX_PIECE if cut < 0 else cut
            yield gathered[:cut]
            gathered = gathered[cut:].strip()
        if len(gathered) >= MIN_PIECE:
            yield gathered
            gathered = ""


def bits_per_byte(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    window: int = 1024,
    batch_tokens: int = 8192,
    on_progress: Callable[[int], None] | None = None,
) -> list[TextScore]:
    """The likelihood of each text after the tokenizer's begin (or else end) token; see
    `compare_panel` for the ratio.

    A text longer than `window` tokens (or the model's limit) is read in windows that overlap by
    half, so that each token is scored once and, but for the first window, has half a window of
    context.
    """
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    nll = np.zeros(len(texts))
    with evaluating(model) as kind:
        size = min(window, kind.limit)
        tokens = tokenizer(list(texts), add_special_tokens=False).input_ids
        windows = [
            w for text, ids in enumerate(tokens) for w in _windows(text, [begin, *ids], size)
        ]
        for batch in token_batches(
            range(len(windows)), [len(w.ids) for w in windows], pass_tokens(kind, batch_tokens)
        ):
            chosen = [windows[i] for i in batch]
            owners = np.repeat([w.text for w in chosen], [len(w.ids) - w.first for w in chosen])
            np.subtract.at(nll, owners, _score(model, kind, chosen))
            if on_progress:
                on_progress(sum(w.first == 1 for w in chosen))
    return [
        TextScore(float(value), len(text.encode())) for value, text in zip(nll, texts, strict=True)
    ]


def _windows(text: int, ids: list[int], size: int) -> Iterator[_Window]:
    scored = 1  # the begin token is context only
    for start in range(0, len(ids), max(1, size // 2)):
        end = min(start + size, len(ids))
        if end > scored:
            yield _Window(text, ids[start:end], scored - start)
            scored = end


def _score(model: PreTrainedModel, kind: Traits, windows: list[_Window]) -> Floats:
    """Log p of every scored token, window after window."""
    length = max(len(w.ids) for w in windows) - 1  # nothing is asked after the last token
    ids_BT = torch.tensor(
        [w.ids[:-1] + [0] * (length - len(w.ids) + 1) for w in windows], device=kind.device
    )
    rows_N = np.repeat(range(len(windows)), [len(w.ids) - w.first for w in windows])
    positions_N = np.concatenate([np.arange(w.first - 1, len(w.ids) - 1) for w in windows])
    targets_N = torch.tensor(
        [token for w in windows for token in w.ids[w.first :]], device=kind.device
    )
    where = torch.from_numpy(rows_N).to(kind.device), torch.from_numpy(positions_N).to(kind.device)
    # padding comes last, where no scored token sees it
    inputs: Inputs = {
        "input_ids": ids_BT,
        "attention_mask": torch.ones_like(ids_BT),
        "use_cache": False,
    }
    return target_logprobs(
        model, where, torch.arange(len(targets_N), device=kind.device), targets_N, inputs
    )[0]


def compare_panel(
    before: Sequence[TextScore],
    after: Sequence[TextScore],
    *,
    confidence: float = 0.95,
) -> TextChange:
    """After minus before in bits per byte over the same texts, with its paired interval by text.

    Raises:
        DataError: the texts before and after are not the same.
    """
    if [score.num_bytes for score in before] != [score.num_bytes for score in after]:
        raise DataError(
            f"the {len(before)} texts before and the {len(after)} texts after training "
            "are not the same"
        )
    before_ND, after_ND = (
        np.array([[s.nll, s.num_bytes] for s in scores]) for scores in (before, after)
    )
    change = paired_difference(
        _bits, before_ND, after_ND, None, confidence=confidence, kind=Kind((0.0, math.inf))
    )
    ones, n = np.ones((1, len(before))), len(before)
    first, second = float(_bits(ones, before_ND)[0]), float(_bits(ones, after_ND)[0])
    return TextChange(
        before=first,
        after=second,
        difference=change.value,
        ci=change.ci,
        detectable=smallest_detectable_effect(n, change.se * math.sqrt(n), confidence=confidence),
        n=n,
        note=change.note,
    )


def _bits(weights_RN: Floats, rows_ND: Floats) -> Floats:
    """Bits per byte of all texts together; the columns are nll and bytes."""
    sums = weights_RN @ rows_ND
    bits: Floats = sums[:, 0] / sums[:, 1] / math.log(2)
    return bits
