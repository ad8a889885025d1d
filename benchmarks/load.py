"""tunesmith under load: many runs in one process, several at once, a checkpoint after every step.

    python benchmarks/load.py repeat /tmp/load --runs 200
    python benchmarks/load.py side-by-side /tmp/load --runs 8
    python benchmarks/load.py every-step /tmp/load --steps 120

  repeat        the same small job again and again in one process; prints the process's resident
                memory every ten runs
  side-by-side  that many processes at once: first with a folder each and one cache, then all with
                one folder, of which one may work and the others have to say so
  every-step    a training with `save_steps: 1` and without: time, and the most room on disk; then
                it is stopped after each of `--resumes` steps, resumed, and has to end with the same
                weights

The job is that of fault_sweep.py: 40 rows and a model of 20 thousand parameters. Prints JSON last.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fault_sweep import job, write_model, write_rows

MB = 1 << 20
EVERY = 10


def job_in(folder: Path, output: Path, **train: object) -> dict[str, Any]:
    """The job's recipe, its rows and model made where they are not there; keys of `train` more."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, model = folder / "rows.csv", folder / "model"
    if not model.exists():
        write_rows(rows)
        write_model(model)
    recipe: dict[str, Any] = job(rows, model, output)
    recipe["train"] |= train
    return recipe


# ---- many runs in one process


def resident() -> float:
    """Of this process, in MB, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MB


def repeat(folder: Path, runs: int) -> dict[str, Any]:
    """Resident memory after each run, in MB. Verification is left out: it has a process of its
    own.
    """
    from tunesmith import stages
    from tunesmith.recipe import build_recipe
    from tunesmith.rundir import RunDir

    os.environ["TUNESMITH_CACHE"] = str(folder / "cache")
    found = []
    for number in range(1, runs + 1):
        output = folder / f"run-{number}"
        shutil.rmtree(output, ignore_errors=True)
        recipe = build_recipe(job_in(folder, output))[0]
        run = RunDir(output)
        stages.prepare.prepare(recipe)
        stages.train.train(run)
        stages.evaluate.evaluate(run)
        stages.report.report(run)
        shutil.rmtree(output)
        found.append(resident())
        if number == 1 or number % EVERY == 0:
            print(f"run {number:4}: {found[-1]:7.1f} MB", flush=True)
    return {"runs": runs, "resident_mb": [round(mb, 1) for mb in found], **growth(found)}


def growth(resident_mb: Sequence[float]) -> dict[str, float]:
    """MB a run over the second half, from its first and last quarter: the first half warms up."""
    half = resident_mb[len(resident_mb) // 2 :]
    part = max(1, len(half) // 2)
    rise = sum(half[-part:]) / part - sum(half[:part]) / part
    return {"mb_per_run": round(rise / max(1, len(half) - part), 3)}


# ---- several at once


def start(recipe: Mapping[str, object], file: Path, cache: Path) -> subprocess.Popen[str]:
    """`tunesmith run` on a recipe, in a process of its own."""
    file.write_text(json.dumps(recipe))
    command = [sys.executable, "-m", "tunesmith.cli", "run", str(file)]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"TUNESMITH_CACHE": str(cache)},
    )  # fmt: skip


def side_by_side(folder: Path, runs: int) -> dict[str, Any]:
    """Exit codes and reports of `runs` processes with a folder each, and with one for all."""
    shutil.rmtree(folder / "runs", ignore_errors=True)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    (folder / "runs").mkdir(parents=True)
    own = [folder / "runs" / f"own-{i}" for i in range(runs)]
    apart = at_once(folder, own)
    models = {(path / "model" / "model.safetensors").read_bytes() for path in own}
    together = at_once(folder, [folder / "runs" / "one"] * runs)
    return {
        "own_folders": {
            "exit_codes": [code for code, _, _ in apart],
            "different_models": len(models),
            "seconds": round(max(seconds for _, seconds, _ in apart), 1),
        },
        "one_folder": {
            "exit_codes": sorted(code for code, _, _ in together),
            "said": sorted({error_of(said) for code, _, said in together if code}),
            "seconds": sorted(round(seconds, 1) for _, seconds, _ in together),
        },
    }


def at_once(folder: Path, outputs: Sequence[Path]) -> list[tuple[int, float, str]]:
    """Exit code, seconds and output of a process for each folder, all started at once."""
    started = time.perf_counter()
    running = [
        start(job_in(folder, output), folder / "runs" / f"{i}.yaml", folder / "cache")
        for i, output in enumerate(outputs)
    ]
    ended: dict[int, float] = {}
    while len(ended) < len(running):
        for i, process in enumerate(running):
            if i not in ended and process.poll() is not None:
                ended[i] = time.perf_counter() - started
        time.sleep(0.05)
    return [(p.returncode, ended[i], p.communicate()[0]) for i, p in enumerate(running)]


def error_of(said: str) -> str:
    """The error's first line, without the number of the process."""
    line = next((line for line in said.splitlines() if line.startswith("error: ")), said[-300:])
    return " ".join("N" if word.isdigit() else word for word in line.split())


# ---- a checkpoint after every step


def every_step(folder: Path, steps: int, resumes: int) -> dict[str, Any]:
    """Time and room on disk with a checkpoint after every step, and what resuming gives."""
    import torch

    torch.set_num_threads(1)
    os.environ["TUNESMITH_CACHE"] = str(folder / "cache")
    epochs = max(1, steps // 3)  # of 24 training rows, 8 a step
    trained(folder, "warm-up", 1, {})
    plain, _, _ = trained(folder, "plain", epochs, {"save_steps": None})
    often, room, weights = trained(folder, "often", epochs, {"save_steps": 1})
    total = 3 * epochs
    stops = [1 + i * (total - 2) // max(1, resumes - 1) for i in range(resumes)]
    same = [resumed(folder, f"stop-{stop}", epochs, stop) == weights for stop in stops]
    return {
        "steps": total,
        "cpu_seconds": {"each_epoch": round(plain, 2), "every_step": round(often, 2)},
        "most_checkpoints": room[0],
        "most_checkpoint_bytes": room[1],
        "bytes_of_one": room[2],
        "resumed_after": stops,
        "same_weights": same,
    }


class _Stop(Exception):
    """Ends a training from within, as a crash would."""


def trained(
    folder: Path, name: str, epochs: int, train: Mapping[str, object], stop: int = 0
) -> tuple[float, tuple[int, int, int], bytes]:
    """Seconds of CPU, what `room` found at most, and the bytes of the weights."""
    from tunesmith import stages
    from tunesmith.rundir import RunDir
    from tunesmith.train import state

    output = folder / "runs" / name
    run = RunDir(output)
    if not output.exists():
        from tunesmith.recipe import build_recipe

        values = job_in(folder, output, **train, num_train_epochs=epochs)
        stages.prepare.prepare(build_recipe(values)[0])
    most = (0, 0, 0)
    prune = state.prune_checkpoints

    def watched(place: Path, step: int, keep: int, best: int | None) -> None:
        nonlocal most
        most = max(most, room(place))
        prune(place, step, keep, best)
        if stop and (place / f"step-{stop:06d}").exists():
            raise _Stop

    state.prune_checkpoints = watched
    started = time.process_time()
    try:
        stages.train.train(run)
    finally:
        state.prune_checkpoints = prune
    return time.process_time() - started, most, (run.model / "model.safetensors").read_bytes()


def room(checkpoints: Path) -> tuple[int, int, int]:
    """How many there are, their bytes, and those of the largest."""
    sizes = [
        sum(file.stat().st_size for file in path.iterdir()) for path in checkpoints.glob("step-*")
    ]
    return len(sizes), sum(sizes), max(sizes, default=0)


def resumed(folder: Path, name: str, epochs: int, stop: int) -> bytes:
    """The weights of a training that was stopped after a step and resumed."""
    try:
        trained(folder, name, epochs, {"save_steps": 1}, stop)
    except _Stop:
        return trained(folder, name, epochs, {})[2]
    raise SystemExit(f"the training was not stopped after step {stop}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, runs in (("repeat", 200), ("side-by-side", 8)):
        one = kinds.add_parser(kind)
        one.add_argument("folder", type=Path)
        one.add_argument("--runs", type=int, default=runs)
    one = kinds.add_parser("every-step")
    one.add_argument("folder", type=Path)
    one.add_argument("--steps", type=int, default=120)
    one.add_argument("--resumes", type=int, default=10)
    options = parser.parse_args()
    folder = options.folder.absolute()
    if options.kind == "repeat":
        result = repeat(folder, options.runs)
    elif options.kind == "side-by-side":
        result = side_by_side(folder, options.runs)
    else:
        result = every_step(folder, options.steps, options.resumes)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
