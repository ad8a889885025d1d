"""Trackers, through transformers' own reporting callbacks: a step's numbers reach W&B, MLflow,
trackio and TensorBoard as those of a `Trainer` would.

Unless the environment says otherwise, nothing is sent anywhere and everything is written into the
run folder.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

from tunesmith.errors import InputError
from tunesmith.packages import installed
from tunesmith.rundir import RunDir

PROJECT = "tunesmith"
HINT = "pip install 'tunesmith[trackers]'"


@dataclass(frozen=True)
class Arguments:
    """What the callbacks read of `TrainingArguments`. One of those would show its own defaults, not
    what the recipe says.
    """

    run_name: str
    output_dir: str
    settings: Mapping[str, object]
    project: str = PROJECT
    # trackio's: nothing goes to the hub
    trackio_space_id: None = None
    trackio_bucket_id: None = None
    trackio_static_space_id: bool = False
    hub_private_repo: None = None

    def to_dict(self) -> dict[str, object]:
        """The recipe's section `train`."""
        return dict(self.settings)

    def to_json_string(self) -> str:
        """The same as JSON."""
        return json.dumps(self.settings, indent=2)


@dataclass
class Tracker:
    """One callback between its start and its end."""

    callback: Any  # a TrainerCallback; typed, it would insist on TrainingArguments
    arguments: Arguments
    opened: ExitStack
    state: TrainerState = field(default_factory=TrainerState)
    control: TrainerControl = field(default_factory=TrainerControl)

    def report(self, metrics: Mapping[str, float]) -> None:
        """Pass on the numbers of the step that `metrics["step"]` names."""
        self.state.global_step = int(metrics["step"])
        with redirect_stdout(sys.stderr):
            self.callback.on_log(self.arguments, self.state, self.control, logs=_logs(metrics))

    def close(self) -> None:
        """Write what is left, and set the environment back."""
        with self.opened, redirect_stdout(sys.stderr):
            self.callback.on_train_end(self.arguments, self.state, self.control)
        # MLflow's ends whatever run is active when it is deleted, so not later, in the next one's
        self.callback = TrainerCallback()


def start(
    name: str,
    run: RunDir,
    last_step: int,
    earlier: Sequence[Mapping[str, float]],
    settings: Mapping[str, object],
) -> Tracker:
    """Start a tracker after `last_step` of an interrupted run; `earlier` has the numbers of the
    steps up to there. `settings` is shown as the run's configuration.

    InputError where it is not installed or cannot be started, before any step is taken.
    """
    if not installed(name):
        raise InputError(f"report_to: {name} is not installed", hint=HINT)
    # a name of its own: trackio goes on with a run of the same name, and steps would be in it twice
    started = datetime.now().isoformat(sep=" ", timespec="milliseconds")
    arguments = Arguments(f"{run.path.name} {started}", str(run.path), settings)
    with ExitStack() as stack, redirect_stdout(sys.stderr):  # stdout is for results
        stack.enter_context(_environment(_surroundings(name, run)))
        if name == "wandb":
            stack.callback(_finish_wandb)
        try:
            tracker = Tracker(_callback(name, run, arguments, last_step), arguments, stack)
            tracker.callback.on_train_begin(arguments, tracker.state, tracker.control)
        except Exception as error:
            said = " ".join(str(error).split())[:300]
            raise InputError(
                f"report_to: {name} cannot be started: {said}", hint=f"or leave {name} out"
            ) from error
        if name != "tensorboard":  # whose file goes on; others get a whole run again
            for metrics in earlier:
                tracker.report(metrics)
        tracker.opened = stack.pop_all()
    return tracker


def _callback(name: str, run: RunDir, arguments: Arguments, last_step: int) -> Any:
    make: Any = get_reporting_integration_callbacks([name])[0]
    if name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - takes a second

        # the callback's own writer would keep the steps that a resumed run takes again
        return make(SummaryWriter(str(run.tensorboard), purge_step=last_step + 1))
    if name == "wandb":
        _start_wandb(arguments)
    return make()


def _start_wandb(arguments: Arguments) -> None:
    """The callback takes over a run that was started; its own would write into the working
    directory.
    """
    import wandb  # noqa: PLC0415 - optional

    wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=arguments.run_name,
        dir=arguments.output_dir,
    )


def _finish_wandb() -> None:
    """The callback leaves it to the end of the process, which may be several runs later, and a
    session of W&B keeps the folders of the first.
    """
    import wandb  # noqa: PLC0415 - optional

    wandb.finish()
    wandb.teardown()


def _surroundings(name: str, run: RunDir) -> Mapping[str, str]:
    """The variables by which a package is told where to write; what the user has set stays, but
    for what needs a Trainer's model.
    """
    folder = run.path.absolute() / name
    if name == "wandb":
        places = {key: str(folder) for key in WANDB_FOLDERS}
        return _unless_set({"WANDB_MODE": "offline"} | places) | NO_MODEL
    if name == "mlflow":
        # a plain folder is what every version of MLflow reads without a database package
        local = {"MLFLOW_TRACKING_URI": folder.as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
        return _unless_set(local | {"MLFLOW_DISABLE_TELEMETRY": "true"})
    if name == "trackio":
        return _unless_set({"TRACKIO_DIR": str(folder)})
    return {}


def _unless_set(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name not in os.environ}


WANDB_FOLDERS = ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR")
NO_MODEL = {"WANDB_LOG_MODEL": "false", "WANDB_WATCH": "false"}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a time; a second run in the same process has its own folder."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _logs(metrics: Mapping[str, float]) -> dict[str, float]:
    """A step's numbers under the names of a Trainer, whose callbacks tell `eval_` from the rest."""
    return {
        f"eval_{name.removeprefix('validation_')}"
        if name.startswith("validation_")
        else name: float(value)
        for name, value in metrics.items()
        if name != "step"
    }
