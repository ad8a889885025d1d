"""What our training and evaluation do with a tiny model of an architecture, beside transformers'
own loss, gradients and answers of one row at a time.
"""

from __future__ import annotations

import itertools
import math
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tiny_architectures import VOCABULARY, tiny_config, tiny_model

from tunesmith.evaluate.generate import generate
from tunesmith.evaluate.likelihood import choice_logprobs
from tunesmith.models.architectures import ENCODERS, why_refused
from tunesmith.recipe import TrainConfig
from tunesmith.records import IGNORE_INDEX
from tunesmith.rundir import RunDir
from tunesmith.train.loop import train
from tunesmith.train.loss import Parts, nll_sum, split_model
from tunesmith.train.packing.plan import MicroBatch, TrainingData
from tunesmith.train.packing.tensors import Batch, to_padded
from tunesmith.train.settings import Settings, settle

LOSS_TOLERANCE = 1e-5
"""Of a row's loss, float32."""
GRADIENT_TOLERANCE = 2e-4
"""Of a parameter's largest gradient, and a hundredth of that of the largest of all: sums in another
order."""
LOGPROB_TOLERANCE = 1e-4
SECONDS = 60
NEW_TOKENS = 6
STOPS = [2, 0]  # token 0 pads, and is not to be answered
CPU = torch.device("cpu")
CONFIG = TrainConfig(
    num_train_epochs=1,
    train_batch_size=3,
    learning_rate=1e-3,
    dtype="float32",
    report_to=[],
    warmup_ratio=0.0,
)


@dataclass(frozen=True)
class Verdict:
    """`runs` is packed, padded, refused or not tried; `why` is the reason for anything but packed,
    and what is wrong with transformers' own answers.
    """

    model_type: str
    runs: str
    why: str


def rows() -> TrainingData:
    """Ten rows of 12 to 42 tokens: eight share their first 20, four of these 26; two nothing."""
    random = np.random.default_rng(1)
    start, more = random.integers(3, VOCABULARY, 20), random.integers(3, VOCABULARY, 6)
    starts = [start] * 4 + [np.concatenate([start, more])] * 4 + [start[:0]] * 2
    own = [2, 5, 9, 14, 1, 3, 8, 15, 11, 29]
    trained = [1, 2, 4, 6, 1, 2, 3, 9, 4, 12]
    found = [
        np.concatenate([s, random.integers(3, VOCABULARY, n + 1)])
        for s, n in zip(starts, own, strict=True)
    ]
    lengths = np.array([len(row) for row in found])
    return TrainingData.from_arrays(
        np.concatenate(found),
        np.cumsum([0, *lengths]),
        lengths - trained,
        [f"r{i}" for i in range(len(found))],
    )


def verdict(model_type: str) -> Verdict:
    """Run everything; AssertionError names what does not hold, TimeoutError what hangs."""
    with time_limit():
        return _verdict(model_type)


def _verdict(model_type: str) -> Verdict:
    refused = why_refused(tiny_config(model_type))
    if refused:
        return Verdict(model_type, "refused", refused)
    try:
        model = tiny_model(model_type)
    except ImportError as error:
        return Verdict(model_type, "not tried", str(error).split(" but ")[0].strip())
    data = rows()
    settings, why = check_loss_and_gradients(model, data)
    why = "; ".join(filter(None, [why, check_answers(model, data)]))
    check_choices(model, data)
    check_an_epoch_and_a_reload(model, data)
    if model_type in ENCODERS:
        why = "; ".join(filter(None, ["with is_decoder: true, else refused as an encoder", why]))
    return Verdict(model_type, "padded" if settings.padded else "packed", why)


@contextmanager
def time_limit(seconds: int = SECONDS) -> Iterator[None]:
    """TimeoutError for what hangs."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check_loss_and_gradients(model: Any, data: TrainingData) -> tuple[Settings, str]:
    """A row's loss is transformers' for that row; the gradients of all rows together are those of
    one row at a time, packed or padded as the run would have it, and padded in any case.
    """
    model.train()
    parts = split_model(model)
    settings, notes = settle(parts, data, CONFIG, CPU)
    every_row = np.arange(len(data))
    expected, gradients = _plain(model, data)
    for row in every_row:
        found = sum(
            nll_sum(parts, batch).item() for batch in _batches(settings, data, np.array([row]))
        )
        assert math.isclose(found, expected[row], rel_tol=LOSS_TOLERANCE), (
            f"row {row}: {found} for {expected[row]}"
        )
    padded = to_padded(data, MicroBatch(every_row, np.zeros_like(every_row)))
    for batches in (_batches(settings, data, every_row), [padded]):
        _check_step(parts, batches, sum(expected), gradients)
    return settings, notes[0].split(": ")[-1] if settings.padded else ""


def check_answers(model: Any, data: TrainingData) -> str:
    """Greedy answers are those of transformers' generate for one row. Where that fails, or
    disagrees with reading the whole row again for each token, which the note says, ours are one or
    the other.
    """
    model.eval()
    prompts = _prompts(data)
    found = [
        answer.ids for answer in generate(model, prompts, stop_ids=STOPS, max_new_tokens=NEW_TOKENS)
    ]
    plain = [_plain_answer(model, prompt) for prompt in prompts]
    try:
        theirs = [_their_answer(model, prompt) for prompt in prompts]
    except (AttributeError, ValueError, RuntimeError) as error:
        assert found == plain, f"answers {found} for {plain}"
        return f"transformers' own generate fails ({type(error).__name__})"
    assert found in (plain, theirs), f"answers {found} for {plain}"
    return "" if theirs == plain else "transformers' own generate disagrees with its forward pass"


def check_choices(model: Any, data: TrainingData) -> None:
    """Choice likelihoods are those of the whole row's logits."""
    model.eval()
    prompts = _prompts(data)
    choices = [[[5, 6, 2], [5, 9], [7, 8, 9, 10, 2]]] * len(prompts)
    found = choice_logprobs(model, prompts, choices)
    for prompt, options, logprobs in zip(prompts, choices, found, strict=True):
        for option, logprob in zip(options, logprobs, strict=True):
            expected = _plain_logprob(model, prompt, option)
            assert math.isclose(logprob, expected, rel_tol=LOGPROB_TOLERANCE), (
                f"choice: {logprob} for {expected}"
            )


def check_an_epoch_and_a_reload(model: Any, data: TrainingData) -> None:
    """An epoch ends with finite losses, and the saved model answers as the trained one does."""
    prompts = _prompts(data)[:4]
    with tempfile.TemporaryDirectory() as folder:
        result = train(model, data, CONFIG, run=RunDir(Path(folder) / "run"), validation=data)
        assert result.steps == 4
        assert math.isfinite(result.history[0]["loss"])
        model.eval().save_pretrained(Path(folder) / "model")
        again = transformers.AutoModelForCausalLM.from_pretrained(
            Path(folder) / "model", dtype=torch.float32
        )
        answers = [
            generate(m, prompts, stop_ids=STOPS, max_new_tokens=NEW_TOKENS) for m in (model, again)
        ]
        assert answers[0] == answers[1], f"loaded again {answers[1]}, before {answers[0]}"


def _batches(settings: Settings, data: TrainingData, numbers: Any) -> list[Batch]:
    return [settings.batch(data, micro, CPU) for micro in settings.cut(data, numbers)]


def _plain(model: Any, data: TrainingData) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Each row's summed loss, and the gradients of all."""
    model.zero_grad()
    losses = []
    for row in range(len(data)):
        ids_BT = torch.from_numpy(data.row(row).astype(np.int64))[None]
        labels_BT = ids_BT.clone()
        labels_BT[:, : data.num_prompt_tokens[row]] = IGNORE_INDEX
        nll = model(input_ids=ids_BT, labels=labels_BT, use_cache=False).loss * int(
            data.num_trained[row]
        )
        nll.backward()
        losses.append(nll.item())
    return losses, _gradients(model)


def _gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _check_step(
    parts: Parts, batches: list[Batch], loss: float, gradients: dict[str, torch.Tensor]
) -> None:
    parts.model.zero_grad()
    total = 0.0
    for batch in batches:
        nll = nll_sum(parts, batch)
        nll.backward()
        total += nll.item()
    kind = type(batches[0]).__name__
    assert math.isclose(total, loss, rel_tol=LOSS_TOLERANCE), f"{kind}: {total} for {loss}"
    found = _gradients(parts.model)
    assert found.keys() == gradients.keys(), (
        f"{kind}: gradients of {sorted(found.keys() ^ gradients.keys())[:3]}"
    )
    most = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        allowed = GRADIENT_TOLERANCE * max(float(gradient.abs().max()), 0.01 * most)
        error = float((found[name] - gradient).abs().max())
        assert error <= allowed, (
            f"{kind}: gradient of {name} {error:.2g} off, {allowed:.2g} allowed"
        )


def _prompts(data: TrainingData) -> list[list[int]]:
    return [data.row(row)[: data.num_prompt_tokens[row]].tolist() for row in range(len(data))]


@torch.no_grad()
def _plain_answer(model: Any, prompt: list[int]) -> list[int]:
    ids: list[int] = []
    while len(ids) < NEW_TOKENS:
        token = int(
            model(input_ids=torch.tensor([prompt + ids]), use_cache=False).logits[0, -1].argmax()
        )
        if token in STOPS:
            break
        ids.append(token)
    return ids


@torch.no_grad()
def _their_answer(model: Any, prompt: list[int]) -> list[int]:
    ids_BT = torch.tensor([prompt])
    settings = transformers.GenerationConfig(
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        eos_token_id=STOPS,
        pad_token_id=0,
        bos_token_id=1,
    )
    answer = model.generate(
        ids_BT, attention_mask=torch.ones_like(ids_BT), generation_config=settings
    )
    ids: list[int] = answer[0, len(prompt) :].tolist()
    return list(itertools.takewhile(lambda token: token not in STOPS, ids))


@torch.no_grad()
def _plain_logprob(model: Any, prompt: list[int], option: list[int]) -> float:
    logits_TV = (
        model(input_ids=torch.tensor([prompt + option]), use_cache=False)
        .logits[0]
        .float()
        .log_softmax(-1)
    )
    places = torch.arange(len(option)) + len(prompt) - 1
    return float(logits_TV[places, torch.tensor(option)].sum())
