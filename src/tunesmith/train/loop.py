"""The training loop: steps, validation, checkpoints, and the same run after a crash.

What is minimised and how a model is validated are plain functions that the loop is given
(`objective`, `validate`); it knows nothing of tasks, prompts or metrics.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from tunesmith.distributed.group import gathered, largest, of_leader, place, totals
from tunesmith.distributed.sharding import whole
from tunesmith.errors import InterruptedRun, TrainingError
from tunesmith.progress import Progress as Shown
from tunesmith.progress import note, say
from tunesmith.progress import progress as shown
from tunesmith.ranks import is_leader
from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.signals import exit_code, name_of, told_to_stop
from tunesmith.train.adapters import merge_with_base
from tunesmith.train.bad_loss import bad_loss
from tunesmith.train.checkpoint import load_weights, naming_a_full_disk, weights
from tunesmith.train.early_stopping import (
    epochs_without_improvement,
    stops_early,
    where_stopped,
    without_effect,
)
from tunesmith.train.loss import Objective, Parts, likelihood_objective, nll_sum
from tunesmith.train.packing.attention import packing
from tunesmith.train.packing.plan import Step, TrainingData, forward_tokens
from tunesmith.train.packing.tensors import Batch, Packed
from tunesmith.train.prefetch import prefetch
from tunesmith.train.saving import saves
from tunesmith.train.settings import Settings
from tunesmith.train.sharded import ReadWeights
from tunesmith.train.state import (
    Progress,
    Training,
    best_checkpoint,
    checkpoint_to_resume,
    restore,
    set_up,
)
from tunesmith.train.trackers import WAITED, MetricsLog, StepMetrics

Validate = Callable[[PreTrainedModel], dict[str, float]]
"""Metrics of the model (in eval mode) after an epoch, by name; more is better for the selected one.

An entry NAME_standard_error gives the standard error of NAME.
"""

PREFETCHED_STEPS = 4
RECENT_STEPS = 20  # time constant of the moving average of the loss
STANDARD_ERROR = "_standard_error"  # suffix of a validation metric's standard error
_clock = time.monotonic


@dataclass(frozen=True)
class TrainResult:
    """What a training came to.

    `history` has one entry per epoch: its `step`, `epoch` and validation numbers. Of all steps
    taken, `trained_tokens` had a label, `raw_tokens` are prompts and completions, and
    `forward_tokens` went through the model (padding included, shared prefixes once). `seconds` is
    time in steps, without validation and checkpoints; `dtype` is what was computed in.
    """

    best_step: int
    steps: int
    history: list[dict[str, float]]
    notes: list[str]
    seconds: float
    trained_tokens: int
    raw_tokens: int
    forward_tokens: int
    dtype: str


def train(
    model: PreTrainedModel,
    data: TrainingData,
    config: TrainConfig,
    *,
    run: RunDir,
    objective: Objective | None = None,
    validation: TrainingData | None = None,
    validate: Validate | None = None,
    validated_in: str = "float32",
    select: str = "loss",
    resume: bool = False,
    on_progress: Callable[[StepMetrics], None] | None = None,
    read_weights: ReadWeights | None = None,
) -> TrainResult:
    """Train `model` in place and leave the best checkpoint's weights in it, in eval mode.

    `objective` is minimised; None is the negative log-likelihood with the recipe's label smoothing.
    After each epoch the validation loss (nats per trained token) and `validate(model)` are taken;
    the best epoch is the one with the highest `select`, or the lowest loss where `select` is "loss"
    or the metric is within a standard error of the highest (`select` + "_standard_error" of
    `validate`; without it, where the metric ties). Without validation the last step is the best.
    Training ends before its last epoch after `early_stopping_patience` epochs without a better one.
    `on_progress` is given each line of metrics.jsonl.

    Raises InputError where a run cannot be started or resumed, TrainingError for a loss that is not
    finite or explodes and for a full disk, InterruptedRun after Ctrl-C, SIGTERM or
    SIGUSR1 (the last step is saved).

    Of several ranks each calls this with the same arguments, and `validate` with the whole model,
    or with one that stays sharded, its weights in `validated_in`, where a rank has no room for it.
    Their model may be on the meta device; `read_weights` then puts weights into it, sharded. The
    leader alone writes, and is left with the best weights, on the CPU; the others' models have
    none.
    """
    torch.manual_seed(config.seed)
    saved = of_leader(lambda: checkpoint_to_resume(run, resume))
    objective = objective or likelihood_objective(config.label_smoothing_factor)
    training = set_up(model, data, config, run, validation, saved, objective, read_weights)
    trained = training.parts.model
    base = (
        {name: p.clone() for name, p in weights(trained).items()} if config.merge_with_base else {}
    )
    progress = restore(training, saved) if saved is not None else Progress()
    judge = _Judge(training, validation, validate, validated_in, select)
    training.notes.extend(without_effect(config))
    for text in training.notes:
        note(text)
    with naming_a_full_disk(run.checkpoints, run.path):  # the log and the trackers write too
        _run_steps(training, progress, judge, on_progress)
    for text in where_stopped(progress, config, training.num_steps):
        note(text)
        training.notes.append(text)
    if training.sharded:
        best = of_leader(lambda: best_checkpoint(run, progress))
        training.sharded.finish(best)
    elif progress.best_step != progress.step:
        load_weights(best_checkpoint(run, progress), trained)
    if config.merge_with_base:
        merge_with_base(trained, base, config.merge_with_base)
    model.eval()
    return TrainResult(
        best_step=progress.best_step,
        steps=progress.step,
        history=progress.history,
        notes=training.notes,
        seconds=progress.seconds,
        trained_tokens=progress.trained_tokens,
        raw_tokens=progress.raw_tokens,
        forward_tokens=progress.forward_tokens,
        dtype=training.settings.dtype,
    )


def validation_loss(
    parts: Parts,
    data: TrainingData,
    settings: Settings,
    batch_size: int = 256,
    likelihood: Objective = nll_sum,
) -> float:
    """Mean -log p over all trained tokens, in nats; the model has to be in eval mode.

    `batch_size` rows are cut into micro-batches together, so that they can share prefixes; several
    ranks share them. `likelihood` is `nll_sum`, or the same on a sharded model.
    """
    device = next(parts.model.parameters()).device
    total = 0.0
    with torch.no_grad(), shown("validation loss", len(data)) as advance:
        for start in range(0, len(data), batch_size):
            rows = np.arange(start, min(start + batch_size, len(data)))
            own, idle = settings.passes(data, rows)
            for number, micro in enumerate((*own, *idle)):
                with settings.precision(device):
                    loss = likelihood(parts, settings.batch(data, micro, device)).item()
                total += loss if number < len(own) else 0.0
            advance(len(rows))
    (total,) = totals(total)
    return total / int(data.num_trained.sum())


def _run_steps(
    training: Training,
    progress: Progress,
    judge: _Judge,
    on_progress: Callable[[StepMetrics], None] | None,
) -> None:
    """Take every step that is left, with what belongs between steps."""
    with ExitStack() as stack:
        log = stack.enter_context(_log(training, progress.step, on_progress))
        bar = stack.enter_context(_bar(training, progress))
        stack.enter_context(_neftune(training))
        asked = stack.enter_context(told_to_stop())
        written = stack.enter_context(saves(training, progress))
        due = _CheckpointsDue(training, last=_clock())
        for step, batches in _planned_steps(training, progress):
            metrics = _take_step(training, progress, step, batches)
            _show_step(bar, training, step, metrics)
            if progress.step % training.epoch_steps == 0:
                metrics |= judge.look(progress)
                _say_epoch(training, metrics)
            log.tell(metrics)
            # ranks are told at different steps, and a clock differs: what one knows, all do
            save_now, stop, writing = largest(
                due.now(progress.step), asked.number, written.is_writing()
            )
            if not writing:
                written.finish()
            done = progress.step == training.num_steps or stops_early(progress, training.config)
            if save_now or stop:
                # Lines first: beyond the checkpoint they are removed on resuming, but a line that
                # is missing before it would never be written again.
                log.sync()
                written.start()
                due.saved()
            if stop and not done:
                raise InterruptedRun(
                    f"interrupted by {name_of(int(stop))} after step {progress.step} of "
                    f"{training.num_steps}, which is saved",
                    hint=f"tunesmith resume {training.run.path}",
                    exit_code=exit_code(int(stop)),
                )
            if done:
                break
    if asked:  # in the last step: what comes after it is stopped at once
        signal.raise_signal(asked.number)


@dataclass(frozen=True)
class _Log:
    """Who is told of each step; of several ranks, the leader has the file."""

    file: MetricsLog | None
    listeners: Sequence[Callable[[StepMetrics], None]]

    def tell(self, metrics: StepMetrics) -> None:
        """A step was taken."""
        for listener in self.listeners:
            listener(metrics)

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        if self.file is not None:
            self.file.sync()


@contextmanager
def _log(
    training: Training, done: int, on_progress: Callable[[StepMetrics], None] | None
) -> Iterator[_Log]:
    others = [] if on_progress is None else [on_progress]
    if not is_leader():
        yield _Log(None, others)
        return
    config = training.config
    file = MetricsLog(training.run, config.report_to, done, config.model_dump(mode="json"))
    try:
        yield _Log(file, [file.write, *others])
    finally:
        file.close()


def _bar(training: Training, progress: Progress) -> AbstractContextManager[Shown]:
    """The rows of all epochs, those of the steps that were taken before among them."""
    rows, size = len(training.data), training.config.train_batch_size
    epochs, steps = divmod(progress.step, training.epoch_steps)
    return shown(
        "steps", rows * training.config.num_train_epochs, done=rows * epochs + size * steps
    )


def _show_step(bar: Shown, training: Training, step: Step, metrics: StepMetrics) -> None:
    most = "" if training.config.early_stopping_patience is None else "at most "
    bar.at(f"step {int(metrics['step']):,} of {most}{training.num_steps:,}")
    bar.number("loss", metrics["loss"])
    bar(len(step.rows))


def _say_epoch(training: Training, metrics: StepMetrics) -> None:
    """The loss of its last step, and what validation gave: the loss and the metric that decides,
    which comes first.
    """
    found = [name for name in metrics if name.startswith("validation_")]
    metric = [name for name in found if name != "validation_loss"][:1]
    told = ["loss", *(name for name in found if name == "validation_loss"), *metric]
    numbers = ", ".join(f"{name.replace('_', ' ')} {metrics[name]:.4g}" for name in told)
    epoch, epochs = int(metrics["epoch"]), training.config.num_train_epochs
    waited, patience = metrics.get(WAITED, 0), training.config.early_stopping_patience
    worse = f"; no better for {waited:g} of {patience} epochs" if waited else ""
    say(f"training: epoch {epoch} of {epochs}: {numbers}{worse}")


@dataclass
class _CheckpointsDue:
    """When a checkpoint is written: after each epoch, by steps, and by the clock. No step depends
    on when one was written.
    """

    training: Training
    last: float

    def now(self, step: int) -> bool:
        """Whether one is due after `step`."""
        config, waited = self.training.config, _clock() - self.last
        return (
            step % self.training.epoch_steps == 0
            or (config.save_steps is not None and step % config.save_steps == 0)
            or (config.save_minutes is not None and waited >= 60 * config.save_minutes)
        )

    def saved(self) -> None:
        """One has been written just now."""
        self.last = _clock()


def _planned_steps(training: Training, progress: Progress) -> Iterator[tuple[Step, list[Batch]]]:
    """The steps that are left, with their batches, prepared in the background."""
    config, settings = training.config, training.settings
    first_epoch, first_step = divmod(progress.step, training.epoch_steps)
    if stops_early(progress, config):  # resumed after its last step
        return iter(())

    def steps() -> Iterator[tuple[Step, list[Batch]]]:
        for epoch in range(first_epoch, config.num_train_epochs):
            start = first_step if epoch == first_epoch else 0
            for step in settings.plan(training.data, config, epoch, start):
                passes = (*step.micro_batches, *step.idle)
                batches = [settings.batch(training.data, m, training.device) for m in passes]
                yield step, batches

    return prefetch(steps(), PREFETCHED_STEPS)


def _take_step(
    training: Training, progress: Progress, step: Step, batches: list[Batch]
) -> StepMetrics:
    """One optimiser step, unless its loss is bad; its line of metrics.jsonl."""
    started = time.perf_counter()
    _draw_for_this_rank(training, progress)
    losses = _accumulate_gradients(training, progress, step, batches)
    grad_norm = training.update.grad_norm()
    loss, tokens = totals(sum(losses), _tokens_of_rank(training, step))
    loss_per_token = loss / step.num_trained
    _refuse_bad_loss(training, progress, step, losses, loss_per_token, grad_norm)
    learning_rate = float(training.schedules[0].get_last_lr()[0])
    training.update.step(progress.step)
    for schedule in training.schedules:
        schedule.step()
    seconds = time.perf_counter() - started
    data = training.data
    metrics: StepMetrics = {
        "step": progress.step + 1,
        "epoch": (progress.step + 1) / training.epoch_steps,
        "loss": loss_per_token,
        "grad_norm": grad_norm,
        "learning_rate": learning_rate,
        "trained_tokens": step.num_trained,
        "raw_tokens": int(data.lengths_of(step.rows).sum()),
        "forward_tokens": int(tokens),
        "seconds": seconds,
    }
    _count(progress, metrics)
    return metrics


def _tokens_of_rank(training: Training, step: Step) -> int:
    """Tokens that go through the model on this rank."""
    padded, passes = training.settings.padded, (*step.micro_batches, *step.idle)
    return sum(forward_tokens(training.data, micro, padded) for micro in passes)


def _draw_for_this_rank(training: Training, progress: Progress) -> None:
    """Let dropout differ between ranks. From the step's number, because a checkpoint keeps one
    rank's random-number state, and another number of ranks may go on from it.
    """
    rank, world_size = place()
    if world_size > 1:
        of_step = np.random.SeedSequence([training.config.seed, progress.step, rank])
        torch.manual_seed(int(of_step.generate_state(1)[0]))


def _accumulate_gradients(
    training: Training, progress: Progress, step: Step, batches: list[Batch]
) -> list[float]:
    """Backward passes of all micro-batches; the summed loss of each, without idle ones.

    Sums divided by the trained tokens of the whole step are the mean over its tokens however it is
    cut. (A mean per micro-batch, averaged, would weight the tokens of short answers more, and
    differently with each cut.)
    """
    training.parts.model.train()
    losses: list[torch.Tensor] = []
    for number, batch in enumerate(batches):
        counts = number < len(step.micro_batches)
        with training.settings.precision(training.device), training.kept_away():
            loss = training.objective(training.parts, batch)
        losses += [loss.detach()] if counts else []
        with ExitStack() as stack:
            # With gradient checkpointing the backward pass runs the layers' forward again, so
            # packed attention has to be on here too.
            if isinstance(batch, Packed):
                stack.enter_context(packing(training.parts.decoder))
            if training.update.in_backward and number + 1 == len(batches):
                _refuse_bad_step(training, progress, step, [loss.item() for loss in losses])
                stack.enter_context(training.update.while_backward(progress.step))
            (loss * counts / step.num_trained).backward()
    return [loss.item() for loss in losses]


def _refuse_bad_step(
    training: Training, progress: Progress, step: Step, losses: list[float]
) -> None:
    """As `_refuse_bad_loss`, before there are gradients."""
    per_token = sum(losses) / step.num_trained
    _refuse_bad_loss(training, progress, step, losses, per_token, grad_norm=None)


def _count(progress: Progress, metrics: StepMetrics) -> None:
    progress.step += 1
    progress.seconds += metrics["seconds"]
    progress.trained_tokens += int(metrics["trained_tokens"])
    progress.raw_tokens += int(metrics["raw_tokens"])
    progress.forward_tokens += int(metrics["forward_tokens"])
    if progress.step == 1:
        progress.first_loss = progress.recent_loss = metrics["loss"]
    progress.recent_loss += (metrics["loss"] - progress.recent_loss) / RECENT_STEPS


def _refuse_bad_loss(
    training: Training,
    progress: Progress,
    step: Step,
    losses: list[float],
    loss: float,
    grad_norm: float | None,
) -> None:
    """TrainingError for a loss that is not finite or explodes, before it reaches the weights; None
    where there are no gradients yet.

    Exploding: the recent average is twice the first loss and twice that of a uniform guess (log V).
    """
    parts = list(zip(step.micro_batches, losses, strict=True))
    uniform = math.log(training.parts.model.config.get_text_config().vocab_size)
    if not math.isfinite(loss) or not math.isfinite(grad_norm or 0.0):
        what = f"the loss is {loss}"
        what += "" if grad_norm is None else f" and the gradient norm {grad_norm}"
    elif progress.recent_loss > max(2 * uniform, 2 * progress.first_loss):
        what = f"the loss has grown from {progress.first_loss:.3g} to {progress.recent_loss:.3g}"
    else:
        return
    bad = [row for micro, nll in parts if not math.isfinite(nll) for row in micro.rows]
    ids = [training.data.ids[row] for row in bad]
    raise bad_loss(
        progress.step + 1,
        what,
        [row_id for of_rank in gathered(ids) for row_id in of_rank],
        _peak_rate(training),
        ((name, whole(w.detach())) for name, w in training.parts.model.named_parameters()),
    )


def _peak_rate(training: Training) -> float:
    """Of the first optimiser: the rate of this step may be the warm-up's 0."""
    return float(training.schedules[0].base_lrs[0])


@dataclass(frozen=True)
class _Judge:
    """Validates after an epoch and decides which epoch is the best so far."""

    training: Training
    validation: TrainingData | None
    validate: Validate | None
    validated_in: str
    select: str

    def look(self, progress: Progress) -> dict[str, float]:
        """Validate, update `history` and `best_step`; the numbers as metrics.jsonl names them."""
        numbers = self._numbers()
        progress.history.append(
            {"step": progress.step, "epoch": len(progress.history) + 1, **numbers}
        )
        progress.best_step = self._best(progress) if numbers else progress.step
        found = {f"validation_{name}": value for name, value in numbers.items()}
        if self.training.config.early_stopping_patience is not None:
            found[WAITED] = epochs_without_improvement(progress)
        return found

    def _numbers(self) -> dict[str, float]:
        numbers: dict[str, float] = {}
        self.training.parts.model.eval()
        # Whatever validation draws at random, training goes on with the numbers it would have had.
        with torch.random.fork_rng():
            if self.validation is not None:
                numbers["loss"] = validation_loss(
                    self.training.parts,
                    self.validation,
                    self.training.settings,
                    likelihood=self.training.likelihood,
                )
            if self.validate is not None:
                found = self.training.shown_to(self.validate, self.validated_in)
                numbers |= {name: value for name, value in found.items() if name != "loss"}
        if numbers and self.select not in numbers:
            raise TrainingError(
                f"no validation metric is called {self.select!r}: there are {', '.join(numbers)}"
            )
        return numbers

    def _best(self, progress: Progress) -> int:
        """The step of this epoch or of the best so far, the only ones with a checkpoint.

        Of epochs whose metric is within one standard error of the highest, which the validation
        rows cannot tell apart, the one with the lowest loss, a finer measure that every token
        counts in (after the one-standard-error rule of Breiman et al. 1984).
        """
        history = progress.history
        if self.select == "loss":
            return int(min(history, key=lambda entry: entry["loss"])["step"])
        top = max(history, key=lambda entry: entry[self.select])
        enough = top[self.select] - top.get(f"{self.select}{STANDARD_ERROR}", 0.0)
        kept = [entry for entry in history if entry["step"] in (progress.best_step, progress.step)]
        candidates = [entry for entry in kept if entry[self.select] >= enough]
        return int(min(candidates, key=lambda entry: entry.get("loss", 0.0))["step"])


@contextmanager
def _neftune(training: Training) -> Iterator[None]:
    """NEFTune (Jain et al. 2023) by transformers' hook: uniform noise on the input embeddings."""
    if not training.config.neftune_noise_alpha:
        yield
        return
    # slow to import: it loads all of peft
    from transformers.integrations.neftune import neftune_post_forward_hook  # noqa: PLC0415

    embeddings = training.parts.model.get_input_embeddings()
    # Where the hook looks the strength up; a plain number, which nn.Module's types do not foresee.
    embeddings.neftune_noise_alpha = training.config.neftune_noise_alpha  # type: ignore[assignment]
    handle = embeddings.register_forward_hook(neftune_post_forward_hook)
    try:
        yield
    finally:
        handle.remove()
