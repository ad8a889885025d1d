"""Section 3: what was checked is what is used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from defect_kinds.job import Job, Kind, Said, flip, good_rows, on_a_run, wait_for

CHANGED = r"changed since it was made: sha256 \w+, made as \w+.*\nhint: "


def flipped(name: str, command: str) -> Callable[[Job], list[str]]:
    """One bit of a file of a finished run, before a command that reads it."""
    return on_a_run(command, lambda run: flip(run / name))


def right_answers(run: Path) -> None:
    """The stored answers of the tuned model become the right ones."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = run / "evaluation" / "tuned" / "test.parquet"
    table = pq.read_table(path)
    column = table.column_names.index("text")
    pq.write_table(table.set_column(column, "text", pa.array(table["reference"])), path)


def better_score(run: Path) -> None:
    text = (run / "report.md").read_text()
    (run / "report.md").write_text("Better. " + text)


def forgotten_use(run: Path) -> None:
    """The use of the sealed test split is taken off its list."""
    seal = json.loads((run / "data" / "test.seal.json").read_text())
    seal["uses"] = []
    (run / "data" / "test.seal.json").write_text(json.dumps(seal))


def best_checkpoint(job: Job) -> list[str]:
    """Training is killed once its best checkpoint is not its newest, and the best is damaged."""
    arguments = job.whole_run(
        job.csv(good_rows()),
        "train.num_train_epochs=200", "train.save_total_limit=200", "evaluation.few_shot=0",
        "train.learning_rate=0.01",
    )  # fmt: skip
    job.killed_when(lambda: older_best(job.run) is not None, arguments)
    best = older_best(job.run)
    assert best is not None
    flip(best / "model.safetensors")
    return ["train", str(job.run)]


def older_best(run: Path) -> Path | None:
    """The best checkpoint, where it is not the newest."""
    whole = sorted((run / "checkpoints").glob("step-*/manifest.json"))
    if not whole:
        return None
    best = json.loads(whole[-1].with_name("state.json").read_text())["progress"]["best_step"]
    path = run / "checkpoints" / f"step-{best:06d}"
    return path if path != whole[-1].parent else None


def a_long_file(job: Job) -> list[str]:
    return job.prepare(job.csv(good_rows(400_000)))


def another_writes_into_it(job: Job, process: int) -> None:
    """A row is added by another process while the file is read."""
    path = str(job.folder / "rows.csv")

    def is_read() -> bool:
        folder = Path(f"/proc/{process}/fd")
        try:
            return any(os.readlink(link) == path for link in folder.iterdir())
        except OSError:
            return False

    wait_for(is_read)
    with open(path, "a") as file:
        file.write("One more row.,good\n")


def poisoned_cache(job: Job) -> list[str]:
    """A prepared split in the cache is damaged; then the same rows are prepared again."""
    first = job.prepare(job.csv(good_rows()), f"output_dir={job.folder / 'first'}")
    os.waitpid(job.start(first), 0)
    for path in (job.folder / "cache").rglob("train.parquet"):
        flip(path)
    return job.prepare(job.folder / "rows.csv")


def is_whole_again(job: Job, _: Said) -> bool:
    """The second preparation has the first one's rows, and its own files."""
    first, second = job.folder / "first" / "data", job.run / "data"
    name = "train.parquet"
    same = (first / name).read_bytes() == (second / name).read_bytes()
    return same and (second / name).stat().st_nlink == 1


def other_rows(job: Job) -> list[str]:
    """A row is added to the source between preparation and training."""
    source = job.csv(good_rows())
    os.waitpid(job.start(job.prepare(source)), 0)
    source.write_text(source.read_text() + "One more row.,good\n")
    return ["train", str(job.run)]


def added_adapter(run: Path) -> None:
    (run / "model" / "adapter_config.json").write_text("{}")


KINDS = [
    Kind("3", "a row is added to the file while it is read", a_long_file,
         r"rows\.csv: changed while it was read\nhint: ", meanwhile=another_writes_into_it),
    Kind("3", "a row is added between prepare and train", other_rows,
         r"rows\.csv changed since the run was prepared: sha256 .*\nhint: "),
    Kind("3", "damaged rows in the cache", poisoned_cache, "", 0, is_whole_again),
    *(
        Kind("3", f"one bit of {name}, then {command}", flipped(name, command),
             rf"{name.rpartition('/')[2]}: {CHANGED}")
        for name, command in (
            ("model/model.safetensors", "chat"),
            ("model/model.safetensors", "export"),
            ("model/model.safetensors", "evaluate"),
            ("model/model.safetensors", "resume"),
            ("model/tokenizer.json", "chat"),
            ("data/train.parquet", "train"),
            ("data/test.parquet", "evaluate"),
            ("evaluation/base/test.parquet", "report"),
            ("recipe.yaml", "resume"),
            ("metrics.jsonl", "report"),
        )
    ),
    Kind("3", "the answers are replaced by the right ones, then report",
         on_a_run("report", right_answers), CHANGED),
    Kind("3", "report.md says better, then verify", on_a_run("verify", better_score), CHANGED),
    Kind("3", "a use of the test split is deleted from its list",
         on_a_run("report", forgotten_use), r"test\.seal\.json: changed .*\nhint: "),
    Kind("3", "the list of artefacts is deleted",
         on_a_run("report", lambda run: (run / "artefacts.json").unlink()),
         r"artefacts\.json: gone.*\nhint: "),
    Kind("3", "a file is added to the model folder", on_a_run("chat", added_adapter),
         r"adapter_config\.json: .*no finished stage"),
    Kind("3", "the tokenizer is deleted from the model folder",
         on_a_run("chat", lambda run: (run / "model" / "tokenizer.json").unlink()),
         r"tokenizer\.json: gone since it was made"),
    Kind("3", "the best checkpoint is damaged while training, then train", best_checkpoint,
         r"step-\d+: the best checkpoint is damaged: .*\nhint: ", 1),
]  # fmt: skip
