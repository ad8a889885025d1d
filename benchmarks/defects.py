"""What goes wrong when people fine-tune on their own rows, injected one kind at a time into a small
job: is it noticed, when, and with which words?

    python benchmarks/defects.py                        # a line for each kind
    python benchmarks/defects.py --only '^3 ' --show    # those of a section, with all that is said
    pip install --target PEERS --no-deps trl==1.16.0 accelerate==1.15.0
    python benchmarks/defects.py --peers PEERS --keep results.json --write docs/defects.md

Each kind has a folder of its own. A process of its own calls the command line as a user would; a
kind counts as noticed only where the expected exit code, the expected words and, if the command
goes on, the right result are all there. --peers gives the same defect to TRL's SFTTrainer, where
it has a counterpart (defect_kinds/peers.py). --keep adds the results to those of earlier calls:
what --only chose is tried again, and the table has them all.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from defect_kinds import artefacts, bounds, cells, faults, files, findings, strangers, training
from defect_kinds.job import Job, Kind, Said, good_rows

import tunesmith

SECTIONS = {
    "1": "One value, one reader; files as they come",
    "2": "Findings before training",
    "3": "What was checked is what is used",
    "4": "Faults",
    "5": "Bounds",
    "6": "Strangers' text",
    "pains": "Tokens, templates, splits, models",
}
KINDS: tuple[Kind, ...] = tuple(
    kind
    for module in (cells, files, findings, artefacts, faults, bounds, strangers, training)
    for kind in module.KINDS
)
SECONDS = 300  # after which a command counts as hanging
NOT_NOTICED = "NOT NOTICED"


@dataclass(frozen=True)
class Noticed:
    """What became of one kind: when it was noticed, with which exit code and which words; `peer` is
    what became of it in TRL, empty where it was not tried.
    """

    section: str
    name: str
    when: str
    code: int
    words: str
    peer: str = ""


# ---- running a command as a user would


def child(arguments: Sequence[str], said: Path, opened: Path, folder: Path,
          environment: dict[str, str]) -> int:  # fmt: skip
    """The number of a process that runs a command. `opened` appears when it opens a file of rows
    in `folder`.
    """
    number = os.fork()
    if number:
        return number
    code = 99
    try:
        # a shell starts what it runs in the background with SIGINT ignored, and so it would stay
        signal.signal(signal.SIGINT, signal.default_int_handler)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update({"TUNESMITH_CACHE": str(folder / "cache"), **environment})
        os.chdir(folder)
        if limit := os.environ.get(faults.LIMIT):
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
        if environment:  # read when Python starts
            os.environ["PYTHONPATH"] = str(Path(tunesmith.__file__).parents[1])
            os.execv(sys.executable, [sys.executable, "-m", "tunesmith.cli", *arguments])
        sys.addaudithook(_noting(opened, str(folder / "rows")))
        sys.argv = ["tunesmith", *arguments]
        from tunesmith import cli

        cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _noting(opened: Path, rows: str) -> Callable[[str, tuple[object, ...]], None]:
    def hook(event: str, details: tuple[object, ...]) -> None:
        if event == "open" and str(details[0]).startswith(rows) and not opened.exists():
            os.close(os.open(opened, os.O_CREAT | os.O_WRONLY))

    return hook


def end_of(process: int) -> int:
    """The exit code of a process; -9 where it had to be killed because it hung."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found, status, _ = os.wait4(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -signal.SIGKILL


def attempt(kind: Kind, folder: Path, finished: Path, show: bool = False) -> Noticed:
    """Inject one kind, run the command and look at what it says."""
    folder.mkdir(parents=True)
    said, opened = folder / ".said", folder / ".opened"
    background: list[int] = []

    def start(arguments: Sequence[str]) -> int:
        background.append(child(arguments, folder / ".background", opened, folder, {}))
        return background[-1]

    job = Job(folder, finished, start)
    try:
        arguments = kind.inject(job)
        process = child(arguments, said, opened, folder, dict(kind.environment))
        if kind.meanwhile is not None:
            kind.meanwhile(job, process)
        outcome = Said(end_of(process), said.read_text(errors="backslashreplace"))
        found = judged(kind, job, outcome, opened.exists(), arguments[0])
        if show or found.when == NOT_NOTICED:
            print("      " + outcome.text[-3000:].replace("\n", "\n      "))
        return found
    finally:
        for process in background:
            _end(process)


def _end(process: int) -> None:
    """End a process that we started and nobody has waited for: its number is still its own."""
    try:
        found, _ = os.waitpid(process, os.WNOHANG)
    except ChildProcessError:
        return
    if not found:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def judged(kind: Kind, job: Job, said: Said, rows_read: bool, command: str) -> Noticed:
    """Noticed only where code, words and result are as expected, and no traceback is shown."""
    found = re.search(kind.words, said.text)
    whole = said.code == kind.code and found is not None and "Traceback" not in said.text
    try:
        right = whole and (said.code not in (0, 3, 4) or kind.right(job, said))
    except (OSError, KeyError, ValueError) as error:
        print(f"{kind.name}: {error!r}", file=sys.stderr)
        right = False
    when = moment(kind, said, rows_read, command) if right else NOT_NOTICED
    return Noticed(kind.section, kind.name, when, said.code, words_of(kind, said.text, job))


def moment(kind: Kind, said: Said, rows_read: bool, command: str) -> str:
    """When a user reads of it."""
    if said.code == 2:
        if command not in ("prepare", "run", "plan", "check", "preview", "score"):
            return "before the file is used"
        return "at preparation" if rows_read else "before any row is read"
    if said.code:
        return "when it happens"
    if not kind.words:
        return "no harm done"
    return "with the scores" if command == "score" else "at preparation, as a note"


def words_of(kind: Kind, text: str, job: Job) -> str:
    """The lines that say it, without the paths of this machine: the error, or what was expected."""
    text = text.replace(f"{job.folder}/", "").replace(str(job.folder), ".")
    text = re.sub(r"process \d+ on \S+", "process NUMBER on HOST", text)
    error = re.search(r"^error: (.*(?:\nhint: .*)?)", text, re.M)
    found = re.search(kind.words, text) if kind.words else None
    if error and (found is None or found.start() >= error.start()):
        lines = error[1]
    elif found:
        start = text.rfind("\n", 0, found.start()) + 1
        end = text.find("\n", found.end())
        lines = text[start : end if end >= 0 else None]
    else:
        lines = ""
    return " / ".join(part.strip(" │") for part in lines.splitlines())


# ---- the finished run that is copied, and the table


def finished_run(folder: Path) -> Path:
    """A whole run on good rows, by the product's own command."""
    folder.mkdir(parents=True)
    job = Job(folder, folder, lambda _: 0)
    arguments = job.whole_run(
        job.csv(good_rows()),
        "train.num_train_epochs=2", "evaluation.resamples=100", "evaluation.few_shot=1",
    )  # fmt: skip
    process = child(arguments, folder / ".said", folder / ".opened", folder, {})
    if code := end_of(process):
        raise SystemExit(f"the good run ends with {code}: {(folder / '.said').read_text()[-2000:]}")
    return job.run


def needs_finished(kind: Kind) -> bool:
    return kind.section in ("3", "4", "6")


def peer_results(peers: Path, folder: Path) -> dict[str, str]:
    """What TRL's SFTTrainer does with the same defects, by the kind's name."""
    script = Path(__file__).parent / "defect_kinds" / "peers.py"
    source = f"{peers}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True, check=True,
        env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def cell(text: str, most: int = 300) -> str:
    """A text as a cell of a Markdown table."""
    short = text if len(text) <= most else f"{text[:most]} ..."
    return short.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def document(found: Sequence[Noticed], command: str, peers: str) -> str:
    """docs/defects.md."""
    counts = Counter(one.when for one in found)
    noticed = sum(n for when, n in counts.items() if when != NOT_NOTICED)
    tried = [one for one in found if one.peer]
    lines = [
        "# Nothing wrong gets through",
        "",
        f"{len(found)} kinds of defects, faults and hostile input, each injected into a small real "
        f"job and given to the command line as a user would: {noticed} noticed or harmless, "
        f"{counts[NOT_NOTICED]} not noticed. Written by `{command}` on "
        f"{time.strftime('%Y-%m-%d')}.",
        "",
        "| noticed | kinds |",
        "|---|---|",
        *(f"| {when} | {n} |" for when, n in counts.most_common()),
        "",
        "**No harm done** means that there is nothing to tell: the right rows, labels or scores "
        "come out, which the benchmark compares. Exit code 2 is an error before any training, 0 "
        "goes on with a note. A kind counts only where the exit code, the words and, if the "
        "command goes on, the result are the expected ones.",
    ]
    if tried:
        outcomes = Counter(re.split(r":| \(", one.peer)[0] for one in tried)
        told = ", ".join(f"{n} {what}" for what, n in outcomes.most_common())
        lines += [
            "",
            f"**{peers}**, given {len(tried)} of the same defects with its defaults: {told}. "
            "`-`: not tried, most often because it has no such step.",
        ]
    for section, title in SECTIONS.items():
        of_section = [one for one in found if one.section == section]
        if of_section:
            head = "| what was injected | noticed | exit code | words | TRL |"
            lines += ["", f"## {title}", "", head, "|---|---|---|---|---|"]
            lines += [
                f"| {cell(one.name)} | {one.when} | {one.code} | {cell(one.words)} | "
                f"{cell(one.peer) or '-'} |"
                for one in of_section
            ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Is each kind of defect noticed?")
    parser.add_argument("--only", default="", help="a regular expression on SECTION NAME")
    parser.add_argument("--write", type=Path, help="the Markdown file to write")
    parser.add_argument("--peers", type=Path, help="a folder with trl and accelerate")
    parser.add_argument("--keep", type=Path, help="a JSON file with the results of earlier calls")
    parser.add_argument("--show", action="store_true", help="print all that the commands say")
    given = parser.parse_args(arguments)
    kinds = [k for k in KINDS if re.search(given.only, f"{k.section} {k.name}")]
    os.environ |= {"COLUMNS": "1000", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from tunesmith import pipeline, stages  # once here, so that each child has them

    assert all((pipeline, stages.train, stages.evaluate, stages.report))
    with tempfile.TemporaryDirectory(prefix="defects-") as name:
        found = run_all(kinds, Path(name), given)
    broken = [one for one in found if one.when == NOT_NOTICED]
    if given.write:
        peers = trl_version(given.peers) if given.peers else ""
        command = f"python benchmarks/defects.py{' --peers PEERS' if peers else ''} --write"
        command += f" {given.write}"
        given.write.write_text(document(found, command, peers), encoding="utf-8")
    print(f"{len(found) - len(broken)} of {len(found)} noticed or harmless")
    return 1 if broken else 0


def run_all(kinds: Sequence[Kind], folder: Path, given: argparse.Namespace) -> list[Noticed]:
    """Each kind in turn, with a line on stdout; with `keep` also what earlier calls have found."""
    finished = finished_run(folder / "good") if any(map(needs_finished, kinds)) else folder
    theirs = peer_results(given.peers, folder / "peers") if given.peers else {}
    found = []
    for number, kind in enumerate(kinds):
        one = attempt(kind, folder / f"{number}", finished, given.show)
        shutil.rmtree(folder / f"{number}", ignore_errors=True)
        print(f"{kind.section:5} {one.when:26} {one.code:4}  {kind.name}\n      {one.words[:240]}")
        sys.stdout.flush()
        found.append(one)
        if given.keep:  # at once: a call that is stopped has not been for nothing
            with_earlier([one], given.keep)
    everything = with_earlier(found, given.keep) if given.keep else found
    everything = [replace(one, peer=theirs.get(one.name, one.peer)) for one in everything]
    return with_earlier(everything, given.keep) if given.keep else everything


def with_earlier(found: Sequence[Noticed], path: Path) -> list[Noticed]:
    """The results with those of earlier calls, in the order of KINDS; kept in the file again."""
    known = json.loads(path.read_text()) if path.exists() else {}
    for one in found:  # what TRL does with it does not change with us
        peer = one.peer or known.get(one.name, {}).get("peer", "")
        known[one.name] = asdict(replace(one, peer=peer))
    path.write_text(json.dumps(known, indent=1))
    return [Noticed(**known[kind.name]) for kind in KINDS if kind.name in known]


def trl_version(peers: Path) -> str:
    """TRL's name and version, from the folder's name that pip writes."""
    folder = next(peers.glob("trl-*.dist-info"), None)
    return f"TRL {folder.name.removeprefix('trl-').removesuffix('.dist-info')}" if folder else "TRL"


if __name__ == "__main__":
    sys.exit(main())
