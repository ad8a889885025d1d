"""The stages of a run, each a function on a run folder.

A stage is loaded when it is first named (`stages.train.train(run)`), so that the command line can
name all of them at its top and still answer `--help` without torch.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith.stages import chat as chat
    from tunesmith.stages import common as common
    from tunesmith.stages import compare as compare
    from tunesmith.stages import demo as demo
    from tunesmith.stages import dry_run as dry_run
    from tunesmith.stages import evaluate as evaluate
    from tunesmith.stages import export as export
    from tunesmith.stages import judge as judge
    from tunesmith.stages import learning_curve as learning_curve
    from tunesmith.stages import predict as predict
    from tunesmith.stages import prepare as prepare
    from tunesmith.stages import report as report
    from tunesmith.stages import reproduce as reproduce
    from tunesmith.stages import review as review
    from tunesmith.stages import runs as runs
    from tunesmith.stages import serve as serve
    from tunesmith.stages import train as train
    from tunesmith.stages import tune as tune
    from tunesmith.stages import verify as verify
    from tunesmith.stages import watch as watch


def __getattr__(name: str) -> ModuleType:
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from error
