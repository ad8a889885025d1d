"""Every write, fsync, rename and open of a small job fails once, after the example of SQLite's
tests; then the job goes on, and must end with the same bits.

    python benchmarks/fault_sweep.py /tmp/sweep
    python benchmarks/fault_sweep.py /tmp/sweep --stages train --faults kill --sample 20

For each stage of a run, and for each of its calls that concern the run folder or the cache, the
stage starts from the same files and that one call fails: with ENOSPC (and the disk stays full), EIO
or EACCES, or the process is killed in it, in the middle of a write. fault_shim.c does that below
all libraries; it needs a C compiler and Linux. Then

  - the command has said what is wrong in one message (or was killed), without a traceback;
  - a stage that counts as done has the reference's bits;
  - after `resume` the stage has the reference's bits, and nothing unfinished lies about.

Verification in a fresh process and the report's plots are left out, which take seconds each. The
process that the children are forked from has done all stages before, so that a child takes half a
second and not three. Give a folder in memory (/dev/shm): a disk's fsync takes longer than the work.
Prints one line for each stage and fault, then JSON with the counts and what went wrong.
"""

from __future__ import annotations

import argparse
import copy
import csv
import ctypes
import errno
import functools
import gc
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FAULTS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES, "kill": -1}
STAGES = ("prepare", "train", "evaluate", "report", "export")
SHIM = "FAULT_SHIM"
NOTHING = 1 << 60  # the number of a call that never comes


@dataclass(frozen=True)
class Broken:
    """A call after which an invariant did not hold."""

    stage: str
    fault: str
    n: int
    call: str
    problem: str


@dataclass(frozen=True)
class Outcome:
    """How a child ended: its exit code (negative: the signal), what it said, how many calls it
    made, and the one that failed.
    """

    code: int
    said: str
    calls: int
    call: str


class Sweep:
    """The job of one folder: `work` is where it runs, `from-STAGE` what each stage starts from."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.work = folder, folder / "work"
        self.said = folder / "said.txt"
        self.shim: Any = ctypes.CDLL(os.environ[SHIM])
        self.shim.fault_count.restype = ctypes.c_long
        self.shim.fault_what.restype = ctypes.c_char_p
        model = folder / "model"
        if not model.exists():  # in a process of its own: threads do not survive a fork
            command = [sys.executable, __file__, "--write-model", str(model)]
            subprocess.run(command, check=True)
        self.rows, self.model = write_rows(folder / "rows.csv"), model

    def warm_up(self) -> None:
        """All stages in this process, elsewhere: what they import and work out once, each child has
        then from its birth, which is most of what a child would take.
        """
        place, self.work = self.work, self.folder / "warm"
        shutil.rmtree(self.work, ignore_errors=True)
        for name in STAGES:
            self.stage(name)()
        shutil.rmtree(self.work)
        self.work = place
        gc.collect()
        gc.freeze()  # a child's collector would copy every page that it looks at

    # ---- what is run

    def stage(self, name: str) -> Callable[[], object]:
        """The stage as its command would run it, where it is not done yet."""
        from tunesmith import stages
        from tunesmith.recipe import build_recipe
        from tunesmith.run_files import run_state
        from tunesmith.rundir import RunDir
        from tunesmith.stages.common import check_unchanged, open_run

        run = RunDir(self.work / "run")
        os.environ["TUNESMITH_CACHE"] = str(self.work / "cache")

        def work() -> None:
            if name == "prepare":
                if not run_state(run).prepared:
                    recipe = build_recipe(job(self.rows, self.model, run.path))[0]
                    stages.prepare.prepare(recipe)
                return
            check_unchanged(open_run(run.path))
            state = run_state(run)
            if name == "train" and not state.trained:
                stages.train.train(run)
            elif name == "evaluate" and not state.evaluated:
                stages.evaluate.evaluate(run)
            elif name == "report":
                stages.report.report(run)
            elif name == "export" and not (self.work / "exported").exists():
                stages.export.export(run, self.work / "exported", "bfloat16")

        return work

    def result(self, name: str) -> dict[str, str]:
        """Hashes of all that a stage leaves and that is the same each time."""
        run, found = self.work / "run", {}
        patterns = {
            "prepare": ("run/data/*.parquet", "run/recipe.yaml", "run/ledger.json", "run/*.jinja"),
            "train": ("run/model/*",),
            "evaluate": ("run/evaluation/*/*.parquet", "run/evaluation/*.json"),
            "report": ("run/report.md",),
            "export": ("exported/*",),
        }[name]
        for pattern in patterns:
            for path in sorted(self.work.glob(pattern)):
                found[str(path.relative_to(self.work))] = content(path)
        if name == "evaluate" and (run / "data" / "test.seal.json").exists():
            uses = json.loads((run / "data" / "test.seal.json").read_text())["uses"]
            found["uses"] = "counted" if uses else "none"
        return found

    def is_done(self, name: str) -> bool:
        """Whether the files say that a stage is done."""
        from tunesmith.errors import TunesmithError
        from tunesmith.run_files import run_state
        from tunesmith.rundir import RunDir

        try:
            state = run_state(RunDir(self.work / "run"))
        except TunesmithError:
            return False
        return {
            "prepare": state.prepared,
            "train": state.trained,
            "evaluate": state.evaluated,
            "report": False,
            "export": (self.work / "exported").exists(),
        }[name]

    # ---- running it

    def child(self, name: str, n: int, error: int) -> Outcome:
        """A stage in a process of its own, whose call number `n` fails."""
        from tunesmith.cli_boundary import guarded, of_a_destructor

        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            said = os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(said, 1)
            os.dup2(said, 2)
            self.shim.fault_arm(str(self.work).encode(), n, error)
            sys.unraisablehook = of_a_destructor
            code = guarded(self.stage(name))
            calls, what = self.shim.fault_count(), self.shim.fault_what()
            os.write(writing, json.dumps([calls, what.decode()]).encode())
            os._exit(code)
        os.close(writing)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told = os.read(reading, 1 << 16)
        os.close(reading)
        calls, call = json.loads(told) if told else (0, "killed")
        return Outcome(status, self.said.read_text(errors="replace"), calls, call)

    def restore(self, name: str) -> None:
        """The files as they were before a stage."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.folder / f"from-{name}", self.work)

    def references(self, names: Sequence[str]) -> dict[str, tuple[int, dict[str, str]]]:
        """Each stage's number of calls and result, without a fault; what it starts from is kept."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        found = {}
        for name in STAGES[: max(map(STAGES.index, names)) + 1]:
            shutil.rmtree(self.folder / f"from-{name}", ignore_errors=True)
            shutil.copytree(self.work, self.folder / f"from-{name}")
            done = self.child(name, NOTHING, 0)
            if done.code:
                raise SystemExit(f"{name} fails without a fault: {done.said}")
            found[name] = (done.calls, self.result(name))
        return found

    def try_one(self, name: str, fault: str, n: int, wanted: dict[str, str]) -> Broken | None:
        """None where every invariant holds after call `n` of a stage has failed."""
        self.restore(name)
        hurt = self.child(name, n, FAULTS[fault])

        def broken(problem: str) -> Broken:
            return Broken(name, fault, n, hurt.call, problem)

        if problem := bad_message(hurt):
            return broken(problem)
        done = self.is_done(name)
        if done and (other := differences(self.result(name), wanted)):
            return broken(f"counts as done, and {other} is not the reference's")
        again = self.child(name, NOTHING, 0)
        if again.code:
            return broken(f"does not go on: {last_lines(again.said)}")
        if other := differences(self.result(name), wanted):
            return broken(f"went on, and {other} is not the reference's")
        if left := unfinished(self.work, done):
            return broken(f"left {left}")
        return None


def bad_message(outcome: Outcome) -> str | None:
    """What is wrong with how a command ended, if anything is."""
    if outcome.code == -signal.SIGKILL or outcome.code == 0:
        return None
    said = outcome.said
    if outcome.code not in (1, 2):
        return f"exit code {outcome.code}: {last_lines(said)}"
    if "Traceback" in said or "unexpected " in said:
        return f"no proper message: {last_lines(said)}"
    return None if "error: " in said else f"no message: {last_lines(said)}"


def last_lines(text: str) -> str:
    return " | ".join(text.strip().splitlines()[-4:])


def differences(found: dict[str, str], wanted: dict[str, str]) -> str:
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    return ", ".join(names[:3])


def unfinished(work: Path, was_done: bool) -> str:
    """What nobody would remove any more; a cache's leftovers hurt nobody, nor does the lock file of
    a process that died when its stage was done: the next command takes it over.
    """
    endings = (".tmp", ".old", ".preparing") + (() if was_done else (".lock",))
    left = [
        str(path.relative_to(work))
        for path in (*work.glob(".*"), *(work / "run").rglob(".*"))
        if path.name.endswith(endings)
    ]
    return ", ".join(left[:3])


def content(path: Path) -> str:
    """The hash of a file; of answers without the seconds that they took."""
    if path.suffix == ".parquet" and "evaluation" in path.parts:
        import pyarrow.parquet as pq

        table = pq.read_table(path).drop_columns("seconds")
        return hashlib.sha256(json.dumps(table.to_pylist()).encode()).hexdigest()
    if path.name == "report.md":  # of what was measured, not how fast
        text = path.read_text()
        return hashlib.sha256(text.partition("## ")[0].encode()).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"


# ---- the job: 40 rows, a model of 20 thousand parameters, two epochs of three steps


def write_rows(path: Path) -> Path:
    with path.open("w", newline="") as file:
        rows = [
            (f"{'good' if i % 2 else 'bad'} thing {i}", "yes" if i % 2 else "no") for i in range(40)
        ]
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def write_model(folder: Path) -> None:
    """A random Llama of two layers with a token for each byte."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    pieces = ["<s>", "</s>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(pieces), hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def job(rows: Path, model: Path, output: Path) -> dict[str, object]:
    return {
        "model": str(model),
        "data": {
            "source": str(rows),
            "task": "classify/terse",
            "split": {"train": 0.6, "validation": 0.2, "test": 0.2},
        },
        "train": {
            "num_train_epochs": 2, "train_batch_size": 8, "learning_rate": 5e-3,
            "save_steps": 2, "report_to": [], "dtype": "float32",
        },
        "evaluation": {"few_shot": 0, "resamples": 100, "dtype": "float32", "max_new_tokens": 2},
        "output_dir": str(output),
    }  # fmt: skip


# ---- the whole sweep


def prepare_process(in_place: bool) -> None:
    """Import what the children need, and leave out what takes long."""
    from tqdm import tqdm

    from tunesmith import machine, pipeline, recipe, yaml_files
    from tunesmith.models import save
    from tunesmith.report import write
    from tunesmith.stages import train

    # threads do not survive a fork: none here, nor torch's pool, which set_num_threads would make
    tqdm.monitor_interval = 0
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    write.plots_of = lambda *_: []  # type: ignore[assignment]
    train.probe_machine = lambda *_: machine.Machine(1e9, 1e9)
    remembered = functools.cache(yaml_files.load_yaml)
    recipe.load_yaml = lambda text: copy.deepcopy(remembered(text))
    assert pipeline
    if in_place:
        save.write_model_folder = save._write_files


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def spread(calls: int, sample: int) -> list[int]:
    """Numbers of calls, `sample` of them evenly from the first to the last, or all for 0."""
    if not sample or sample >= calls:
        return list(range(1, calls + 1))
    if sample == 1:
        return [(calls + 1) // 2]
    return [1 + i * (calls - 1) // (sample - 1) for i in range(sample)]


def sweep(
    folder: Path, names: Sequence[str], faults: Sequence[str], sample: int, in_place: bool = False
) -> dict[str, Any]:
    """Counts by stage and fault, and every Broken; `sample` calls of each, 0 for all."""
    prepare_process(in_place)
    one = Sweep(folder)
    one.warm_up()
    references = one.references(names)
    counts: dict[str, dict[str, int]] = {}
    found: list[Broken] = []
    for name in names:
        calls, wanted = references[name]
        for fault in faults:
            chosen = spread(calls, sample)
            started, used = time.perf_counter(), cpu_seconds()
            here = [b for n in chosen if (b := one.try_one(name, fault, n, wanted)) is not None]
            counts.setdefault(name, {})[fault] = len(chosen)
            found += here
            print(
                f"{name:9} {fault:7} {len(chosen):4} of {calls} calls, {len(here)} broken, "
                f"{time.perf_counter() - started:.0f} s, {cpu_seconds() - used:.0f} s of CPU",
                flush=True,
            )
            for broken in here:
                print(f"  {broken}", flush=True)
    return {"counts": counts, "broken": [asdict(broken) for broken in found]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--write-in-place", action="store_true", help="models without a rename: shows the sweep"
    )
    parser.add_argument("--write-model", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument(
        "--sample", type=int, default=0, help="calls of each, evenly from first to last"
    )
    options = parser.parse_args()
    folder = options.folder.absolute()
    if options.write_model:
        write_model(folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    if SHIM not in os.environ:  # once more, with the shim before libc
        library = folder / "fault_shim.so"
        source = Path(__file__).with_name("fault_shim.c")
        compiler = os.environ.get("CC", "cc")
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True
        )
        environment = os.environ | {SHIM: str(library), "LD_PRELOAD": str(library)}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    result = sweep(folder, options.stages, options.faults, options.sample, options.write_in_place)
    print(json.dumps(result))
    sys.exit(1 if result["broken"] else 0)


if __name__ == "__main__":
    main()
