"""The `check` command: a minute of small trainings that show whether the real one can work.

They run on copies of the model and find what a loss curve hides: labels shifted by one, gradients
that do not arrive, an answer's end that is not trained.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from tunesmith.recipe import TrainConfig
from tunesmith.records import IGNORE_INDEX
from tunesmith.train.loss import Objective, Parts, nll_sum, split_model
from tunesmith.train.optim import default_learning_rate
from tunesmith.train.packing.plan import (
    Ints,
    MicroBatch,
    TrainingData,
    forward_tokens,
    steps_per_epoch,
)
from tunesmith.train.packing.tensors import Batch, Padded, to_padded
from tunesmith.train.settings import Settings, settle

MAX_ROWS = 8
HELD_OUT_ROWS = 64
MAX_LEARNING_RATE = 3e-3
OVERFIT_STEPS = 150
OVERFIT_LOSS = 0.05  # nats per trained token
FIRST_LOSS_TOLERANCE = 0.02  # relative; we may compute in bfloat16, the model in float32
SECONDS = 15.0  # longest time of one small training


@dataclass(frozen=True)
class CheckResult:
    """One check: whether it passed, and a sentence with what was measured."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class _Setup:
    """How the small trainings are cut, computed and what they minimise."""

    settings: Settings
    objective: Objective


def check(
    model: PreTrainedModel,
    data: TrainingData,
    config: TrainConfig,
    objective: Objective = nll_sum,
) -> list[CheckResult]:
    """Six checks, each with what was measured; the model itself is left as it was.

    Label smoothing is left out, because the first loss is compared with transformers' own.
    """
    settings, _ = settle(split_model(model), data, config, _device(model), objective)
    setup = _Setup(settings, objective)
    rows = np.random.default_rng(config.seed).permutation(len(data))
    few = rows[:MAX_ROWS]
    fitted, losses = _fit(model, data, few, setup)
    return [
        _first_loss(model, data, few, losses[0]),
        _gradients(model, data, few, setup),
        _overfits(losses),
        _stops(fitted, data, few),
        _shuffled_answers(model, data, rows, setup),
        _throughput(model, data, config, setup),
    ]


def _device(model: PreTrainedModel) -> torch.device:
    device: torch.device = next(model.parameters()).device
    return device


def _batches(
    data: TrainingData, rows: Ints, settings: Settings, device: torch.device
) -> list[Batch]:
    return [settings.batch(data, micro, device) for micro in settings.cut(data, rows)]


def _alone(data: TrainingData, row: int, device: torch.device) -> Padded:
    """One row as a batch."""
    return to_padded(data, MicroBatch(np.array([row]), np.zeros(1, dtype=np.int64)), device)


def _fit(
    model: PreTrainedModel, data: TrainingData, rows: Ints, setup: _Setup
) -> tuple[PreTrainedModel, list[float]]:
    """Train a copy on these rows alone until it knows them.

    Returns the copy, and the loss per trained token before each step.
    """
    copied = copy.deepcopy(model)
    trained = [p for p in copied.parameters() if p.requires_grad]
    rate = min(MAX_LEARNING_RATE, 10 * default_learning_rate(sum(p.numel() for p in trained)))
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    parts, batches = split_model(copied), _batches(data, rows, setup.settings, _device(model))
    count = int(data.trained_of(rows).sum())
    losses: list[float] = []
    started = time.monotonic()
    while len(losses) < OVERFIT_STEPS and time.monotonic() - started < SECONDS:
        losses.append(_backward(parts, batches, count, setup))
        if losses[-1] < OVERFIT_LOSS / 2:
            break
        torch.nn.utils.clip_grad_norm_(copied.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return copied, losses


def _backward(parts: Parts, batches: list[Batch], count: int, setup: _Setup) -> float:
    """Accumulate gradients of the summed loss divided by `count`; returns that quotient."""
    total = 0.0
    for batch in batches:
        with setup.settings.precision(batch.labels_N.device):
            loss = setup.objective(parts, batch)
        (loss / count).backward()
        total += loss.item()
    return total / count


@torch.no_grad()
def _first_loss(model: PreTrainedModel, data: TrainingData, rows: Ints, loss: float) -> CheckResult:
    """The loss is transformers' own for these rows, one at a time, and no worse than guessing."""
    total = 0.0
    for row in rows:
        ids_BT = torch.from_numpy(data.row(row).astype(np.int64))[None].to(_device(model))
        labels_BT = ids_BT.clone()
        labels_BT[:, : data.num_prompt_tokens[row]] = IGNORE_INDEX
        total += model(input_ids=ids_BT, labels=labels_BT, use_cache=False).loss.item() * int(
            data.trained_of(row)
        )
    expected = total / int(data.trained_of(rows).sum())
    uniform = math.log(model.config.get_text_config().vocab_size)
    ok = abs(loss - expected) <= FIRST_LOSS_TOLERANCE * expected and loss < 1.2 * uniform
    detail = (
        f"{loss:.2f} nats per trained token, {expected:.2f} by transformers; "
        f"guessing would be {uniform:.2f}"
    )
    return CheckResult("loss before training", ok, detail)


def _gradients(
    model: PreTrainedModel, data: TrainingData, rows: Ints, setup: _Setup
) -> CheckResult:
    """Every trainable parameter has a gradient that is not all zeros."""
    copied = copy.deepcopy(model)
    batches = _batches(data, rows, setup.settings, _device(model))
    _backward(split_model(copied), batches, len(rows), setup)
    trainable = {name: p.grad for name, p in copied.named_parameters() if p.requires_grad}
    # A LoRA adapter starts as B A with B = 0, so A's first gradient is zero.
    dead = [
        n for n, g in trainable.items() if (g is None or not bool(g.any())) and "lora_A" not in n
    ]
    detail = (
        f"{len(trainable)} weights"
        if not dead
        else f"none reaches {len(dead)} weights, such as {dead[0]}"
    )
    return CheckResult("gradients reach every weight", not dead and bool(trainable), detail)


def _overfits(losses: list[float]) -> CheckResult:
    """The loss on a few rows, trained on alone, goes to almost zero."""
    ok = losses[-1] < max(OVERFIT_LOSS, 0.1 * losses[0])
    detail = (
        f"loss {losses[0]:.2f} to {losses[-1]:.3f} in {len(losses)} steps "
        f"on {MAX_ROWS} rows or fewer"
    )
    return CheckResult("learns a few rows by heart", ok, detail)


@torch.no_grad()
def _stops(fitted: PreTrainedModel, data: TrainingData, rows: Ints) -> CheckResult:
    """The stop token, each row's last label, is likely where the answer ends."""
    fitted.eval()
    parts, likely = split_model(fitted), []
    for row in rows:
        batch = _alone(data, row, _device(fitted))
        last = Padded(batch.input_ids_BT, batch.positions_N[-1:], batch.labels_N[-1:])
        likely.append(math.exp(-nll_sum(parts, last).item()))
    detail = (
        f"after learning these rows, p(stop token) is {np.mean(likely):.2f} where an answer ends"
    )
    return CheckResult("stop tokens are learned", float(np.mean(likely)) > 0.5, detail)


def _shuffled_answers(
    model: PreTrainedModel, data: TrainingData, rows: Ints, setup: _Setup
) -> CheckResult:
    """Trained with every prompt before another row's answer, a model is no better on unseen rows.

    Nothing about those can be learned from that, unless a position sees its own label: because
    labels are shifted wrongly, or attention looks ahead. Better than always giving the commonest
    first token, by three standard errors, is taken for that.
    """
    name = "shuffled answers teach nothing"
    train_rows, test_rows = (
        rows[: len(rows) // 2][:HELD_OUT_ROWS],
        rows[len(rows) // 2 :][:HELD_OUT_ROWS],
    )
    if len(test_rows) < MAX_ROWS:
        return CheckResult(name, True, f"not tried: only {len(test_rows)} rows to test on")
    wrong, unseen = (
        _with_answers_of(data, part, np.roll(part, 1)) for part in (train_rows, test_rows)
    )
    fitted, _ = _fit(model, wrong, np.arange(len(wrong)), setup)
    found = [_first_token(fitted, unseen, row) for row in range(len(unseen))]
    right = float(np.mean([predicted == label for predicted, label in found]))
    labels = [label for _, label in found]
    majority = max(labels.count(label) for label in labels) / len(labels)
    limit = majority + 3 * math.sqrt(max(majority * (1 - majority), 1 / len(labels)) / len(labels))
    detail = (
        f"first token right in {right:.0%} of {len(labels)} unseen rows; "
        f"the commonest one has {majority:.0%}"
    )
    return CheckResult(name, right <= limit, detail)


def _with_answers_of(data: TrainingData, prompts: Ints, answers: Ints) -> TrainingData:
    """Rows of the prompts of some rows and the answers of as many others."""
    rows, sizes = [], []
    for prompt, answer in zip(prompts, answers, strict=True):
        n = max(1, data.num_prompt_tokens[prompt])
        rows.append(
            np.concatenate(
                [data.row(prompt)[:n], data.row(answer)[max(1, data.num_prompt_tokens[answer]) :]]
            )
        )
        sizes.append(n)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return TrainingData.from_arrays(
        np.concatenate(rows), offsets, sizes, [data.ids[row] for row in prompts]
    )


@torch.no_grad()
def _first_token(model: PreTrainedModel, data: TrainingData, row: int) -> tuple[int, int]:
    """A row's first trained token: what the model predicts given the whole row, and the label."""
    batch = _alone(data, row, _device(model))
    logits_BTV = model.eval()(input_ids=batch.input_ids_BT, use_cache=False).logits
    return int(logits_BTV.flatten(0, 1)[batch.positions_N[0]].argmax()), int(batch.labels_N[0])


def _throughput(
    model: PreTrainedModel, data: TrainingData, config: TrainConfig, setup: _Setup
) -> CheckResult:
    """Times the forward and backward passes of the first steps; always passes.

    The very first step, which warms up, is not counted where there are more.
    """
    copied = copy.deepcopy(model)
    parts, device = split_model(copied), _device(model)
    settings = setup.settings
    tokens, seconds, steps = 0, 0.0, 0
    for step in settings.plan(data, config, epoch=0):
        started = time.perf_counter()
        batches = [settings.batch(data, micro, device) for micro in step.micro_batches]
        _backward(parts, batches, step.num_trained, setup)
        if steps or len(data) <= config.train_batch_size:
            seconds += time.perf_counter() - started
            tokens += sum(
                forward_tokens(data, micro, settings.padded) for micro in step.micro_batches
            )
        steps += 1
        if steps == 4 or seconds > SECONDS:
            break
    counted = max(1, steps - 1)
    total = (
        seconds
        / counted
        * steps_per_epoch(len(data), config.train_batch_size)
        * config.num_train_epochs
    )
    rows = config.train_batch_size * counted / max(seconds, 1e-9)
    detail = (
        f"{rows:.1f} rows/s, {tokens / max(seconds, 1e-9):.0f} tokens/s; "
        f"about {_duration(total)} for all epochs"
    )
    return CheckResult("throughput", True, detail)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
