"""The files in examples/launch/: Slurm's starts a run, and Kubernetes' has the same command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import write_rows

import tunesmith
from tunesmith.recipe import build_recipe, dump_recipe
from tunesmith.rundir import RunDir
from tunesmith.stages.reproduce import check_whole
from tunesmith.train.trackers import read_metrics

FILES = Path(__file__).parents[2] / "examples" / "launch"
# what a cluster has: srun starts a command once on each machine, all of which are this one here
SRUN = """#!/bin/bash
for machine in $(seq "$SLURM_NNODES"); do "$@" & started="$started $!"; done
for one in $started; do wait "$one" || exit 1; done
"""
TORCHRUN = f'#!/bin/bash\nexec "{sys.executable}" -m torch.distributed.run "$@"\n'


def options(words: list[str]) -> list[str]:
    """The names of a torchrun command's options, in order, and what it starts."""
    joined = [word.partition("=")[0] for word in words]
    return [word for word in joined if word.startswith("-")] + words[words.index("-m") + 1 :][:2]


def test_kubernetes_and_slurm_start_the_same_command() -> None:
    service, job = yaml.safe_load_all((FILES / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert f"--nnodes={job['spec']['completions']}" in container["command"]
    assert (
        f"--nproc-per-node={container['resources']['limits']['nvidia.com/gpu']}"
        in (container["command"])
    )
    text = (FILES / "slurm.sh").read_text()
    slurm = text[text.index("srun torchrun") :].replace("\\\n", " ").split()[1:]
    assert options(container["command"]) == options(slurm)


def test_the_pods_may_write_to_their_volume_as_the_images_user() -> None:
    _, job = yaml.safe_load_all((FILES / "kubernetes.yaml").read_text())
    group = job["spec"]["template"]["spec"]["securityContext"]["fsGroup"]
    assert f"\nUSER {group}\n" in (FILES.parents[1] / "Dockerfile").read_text()


@pytest.mark.sweep
def test_two_launchers_as_on_two_machines_make_one_run(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    for name, text in (
        ("srun", SRUN), ("torchrun", TORCHRUN), ("scontrol", "#!/bin/bash\necho 127.0.0.1\n")
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    values = {
        "model": str(tiny_model_dir),
        "data": {"source": str(write_rows(tmp_path / "rows.csv")), "task": "classify/terse"},
        "train": {"num_train_epochs": 1, "dtype": "float32"},
        "evaluation": {"resamples": 200, "dtype": "float32", "retention": False},
        "output_dir": str(tmp_path / "run"),
    }
    (tmp_path / "recipe.yaml").write_text(dump_recipe(build_recipe(values)[0]))
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(tunesmith.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "TUNESMITH_CACHE": str(tmp_path / "cache"),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_GPUS_ON_NODE": "1",
        "SLURM_JOB_ID": "7",
        "PORT": "29577",
    }
    done = subprocess.run(
        ["bash", str(FILES / "slurm.sh"), str(tmp_path / "recipe.yaml")],
        env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")
    check_whole(RunDir(tmp_path / "run"))
