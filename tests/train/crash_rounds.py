"""Train a tiny model again and again, killing it with SIGKILL at random moments; used by
test_crash.py.

    python crash_rounds.py FOLDER KILLS

Each run is a forked child of this process, which has paid for the imports once. Writes FOLDER/whole
(never killed) and FOLDER/run-0, run-1 ..., each killed and resumed until it had finished.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from support import made_data, tiny_llama

from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.loop import train

SETTINGS = TrainConfig(
    num_train_epochs=3, train_batch_size=2, learning_rate=3e-3, save_steps=2, report_to=[]
)


def start(folder: Path) -> int:
    child = os.fork()
    if child == 0:
        train(
            tiny_llama(),
            made_data(40),
            SETTINGS,
            run=RunDir(folder),
            validation=made_data(4, seed=5),
            resume=True,
        )
        os._exit(0)
    return child


def finishes_within(child: int, seconds: float) -> bool:
    """Wait; True where the child came to its end (0 is a normal one)."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, f"the run failed with status {status}"
            return True
        time.sleep(0.002)
    return False


def main(folder: Path, kills: int) -> None:
    torch.set_num_threads(1)
    moments = random.Random(0)
    started = time.monotonic()
    os.waitpid(start(folder / "whole"), 0)
    usual = time.monotonic() - started
    done = run = 0
    while done < kills:
        child = start(folder / f"run-{run}")
        if finishes_within(child, moments.uniform(0, usual / 2)):
            run += 1
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done += 1
    os.waitpid(start(folder / f"run-{run}"), 0)
    print(f"{done} kills in {run + 1} runs")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
