"""Section 4: signals, kills, two processes, full disks, damaged files, odd environments."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from defect_kinds.job import Job, Kind, Said, good_rows, on_a_run, wait_for

LIMIT = "TUNESMITH_DEFECT_LIMIT"
"""A variable of the benchmark alone: the most bytes that a file may have, as a quota sets it."""


def long_run(job: Job) -> list[str]:
    """A run whose training takes minutes unless it is stopped."""
    return job.whole_run(
        job.csv(good_rows()),
        "train.num_train_epochs=500", "evaluation.few_shot=0", "train.save_steps=1",
    )  # fmt: skip


def in_training(job: Job) -> bool:
    return any((job.run / "checkpoints").glob("step-*/manifest.json"))


def signalled(number: int, when: Callable[[Job], bool]) -> Callable[[Job, int], None]:
    def send(job: Job, process: int) -> None:
        wait_for(lambda: when(job))
        os.kill(process, number)

    return send


def long_preparation(job: Job) -> list[str]:
    return job.prepare(job.csv(good_rows(200_000)))


def is_preparing(job: Job) -> bool:
    return any(job.folder.glob(".run.*.preparing"))


def resumed(job: Job) -> list[str]:
    """A training is killed with SIGKILL; then it is resumed, to its end."""
    arguments = job.whole_run(
        job.csv(good_rows()),
        "train.num_train_epochs=3", "evaluation.few_shot=0", "train.save_steps=1",
        "train.dtype=float32", "evaluation.resamples=100",
    )  # fmt: skip
    job.killed_when(lambda: in_training(job), arguments)
    return ["resume", str(job.run)]


def is_the_same(job: Job, _: Said) -> bool:
    """The weights are those of a run that nobody killed, and nothing unfinished is left."""
    other = job.folder / "whole"
    arguments = (job.run / "recipe.yaml").read_text().replace(str(job.run), str(other))
    recipe = job.write("whole.yaml", arguments)
    os.waitpid(job.start(["prepare", str(recipe)]), 0)
    os.waitpid(job.start(["train", str(other)]), 0)
    name = "model/model.safetensors"
    same = (job.run / name).read_bytes() == (other / name).read_bytes()
    return same and not list(job.run.rglob(".*.tmp"))


def two_at_once(job: Job) -> list[str]:
    command = long_run(job)
    job.start(command)
    wait_for(lambda: in_training(job))
    return ["train", str(job.run)]


def second_run(job: Job) -> list[str]:
    job.copy()
    return job.prepare(job.csv(good_rows()))


def leftovers(job: Job) -> list[str]:
    """What a process that was killed while it saved a model left behind."""
    run = job.copy()
    for name in (".model.0123456789ab.tmp/model.safetensors", ".report.json.0123456789ab.tmp"):
        path = run / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    return ["report", str(run)]


def are_swept(job: Job, _: Said) -> bool:
    return not list(job.run.rglob(".*.tmp"))


def output_at(place: Callable[[Job], str | Path]) -> Callable[[Job], list[str]]:
    def inject(job: Job) -> list[str]:
        rows = job.csv(good_rows())
        return ["prepare", str(rows), "data.task=classify", f"output_dir={place(job)}"]

    return inject


def under_a_file(job: Job) -> Path:
    return job.write("file", "") / "run"


def a_dead_link(job: Job) -> Path:
    (job.folder / "link").symlink_to("gone")
    return job.folder / "link"


def damaged(name: str, content: bytes | Callable[[bytes], bytes],
            command: str = "report") -> Callable[[Job], list[str]]:  # fmt: skip
    def change(run: Path) -> None:
        path = run / name
        path.write_bytes(content if isinstance(content, bytes) else content(path.read_bytes()))

    return on_a_run(command, change)


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def deep(_: bytes) -> bytes:
    return b"[" * 100_000


def newest_checkpoint(change: Callable[[Path], object]) -> Callable[[Job], list[str]]:
    """Training is killed after its third checkpoint, and the newest one is damaged."""

    def inject(job: Job) -> list[str]:
        folder = job.run / "checkpoints"
        job.killed_when(
            lambda: len(list(folder.glob("step-*/manifest.json"))) >= 3,
            [*long_run(job), "train.save_total_limit=100"],
        )
        newest = max(folder.glob("step-*"))
        change(newest / "model.safetensors")
        return ["train", str(job.run)]

    return inject


def cut(path: Path) -> None:
    path.write_bytes(half(path.read_bytes()))


def goes_on_from_an_earlier_one(job: Job, process: int) -> None:
    """Wait until training goes on, then stop it."""
    before = len(list((job.run / "checkpoints").glob("step-*/manifest.json")))
    wait_for(lambda: len(list((job.run / "checkpoints").glob("step-*/manifest.json"))) > before)
    os.kill(process, signal.SIGTERM)


def export_into(place: Callable[[Job], str | Path]) -> Callable[[Job], list[str]]:
    return lambda job: ["export", str(job.copy()), str(place(job))]


def ascii_locale(job: Job) -> list[str]:
    rows = [
        {**row, "label": {"good": "schön", "bad": "Schön"}[row["label"]]} for row in good_rows()
    ]
    return job.prepare(job.csv(rows))


def no_home(job: Job) -> list[str]:
    return job.prepare(job.csv(good_rows()))


MODEL = "model/model.safetensors"
KINDS = [
    Kind("4", "Ctrl-C in training", long_run, r"(?s)hint: .*tunesmith resume", 130,
         meanwhile=signalled(signal.SIGINT, in_training)),
    Kind("4", "SIGTERM in training, as Kubernetes sends it", long_run,
         r"(?s)hint: .*tunesmith resume", 143, meanwhile=signalled(signal.SIGTERM, in_training)),
    Kind("4", "SIGUSR1 in training, as Slurm sends it", long_run,
         r"(?s)hint: .*tunesmith resume", 138, meanwhile=signalled(signal.SIGUSR1, in_training)),
    Kind("4", "Ctrl-C in preparation", long_preparation,
         r"preparation was interrupted by Ctrl-C.*\nhint: ", 130,
         meanwhile=signalled(signal.SIGINT, is_preparing)),
    Kind("4", "SIGKILL in training, then resume: the same bits", resumed, "", 0, is_the_same),
    Kind("4", "the newest checkpoint is cut off, then train", newest_checkpoint(cut),
         r"step-\d+: damaged, and passed over: .* after step-\d+ are trained again", 143,
         meanwhile=goes_on_from_an_earlier_one),
    Kind("4", "two processes train in one folder", two_at_once,
         r"process \d+ on .* is at work there\nhint: "),
    Kind("4", "prepare into a folder that has a run", second_run, r"\nhint: "),
    Kind("4", "what a killed process left in a run folder", leftovers,
         "removed what an interrupted process left", 0, are_swept),
    Kind("4", "output_dir is under a file", output_at(under_a_file), r"file.*\nhint: "),
    Kind("4", "output_dir is a link to nowhere", output_at(a_dead_link), r"link.*\nhint: "),
    Kind("4", "output_dir is where nothing can be written", output_at(lambda _: "/proc/run"),
         r"/proc/run.*\nhint: "),
    Kind("4", "export over a file", export_into(under_a_file), r"file.*\nhint: "),
    Kind("4", "export to a link to nowhere", export_into(a_dead_link), r"link.*\nhint: "),
    Kind("4", "a quota stops the export", on_a_run("export"),
         r"beyond what is allowed.*\nhint: ", 1, environment={LIMIT: "100000"}),
    Kind("4", "a quota stops the report", on_a_run("report"),
         r"beyond what is allowed.*\nhint: ", 1, environment={LIMIT: "1000"}),
    Kind("4", "manifest.json is cut off", damaged("manifest.json", half), r"manifest\.json"),
    Kind("4", "manifest.json is empty", damaged("manifest.json", b""), r"manifest\.json"),
    Kind("4", "manifest.json is 100,000 brackets", damaged("manifest.json", deep),
         r"manifest\.json"),
    Kind("4", "artefacts.json is cut off", damaged("artefacts.json", half), r"artefacts\.json"),
    Kind("4", "metrics.jsonl is cut off", damaged("metrics.jsonl", half), r"metrics\.jsonl"),
    Kind("4", "answers are cut off", damaged("evaluation/tuned/test.parquet", half),
         r"tuned/test\.parquet"),
    Kind("4", "the saved model is cut off, then verify", damaged(MODEL, half, "verify"),
         r"model\.safetensors"),
    Kind("4", "an ASCII locale and labels that are not", ascii_locale, r"sch\\xf6n", 0,
         environment={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}),
    Kind("4", "a user without a home folder", no_home, "", 0,
         environment={"HOME": "/nobody/is/here"}),
]  # fmt: skip
