"""Checkpoints that survive a crash at any moment.

    checkpoints/step-000120/
        model.safetensors       the trainable weights
        optimizer.safetensors   optimiser state and random-number state
        state.json              what is not a tensor: schedules, steps done, history
        manifest.json           sha256 of the others

Several processes write folders `model/` and `optimizer/` in the place of the first two, with a file
from each (distributed/checkpoint.py). Any number of processes reads what any other has written.

A checkpoint is written to a temporary folder, synced to the disk and then renamed, and a rename is
atomic: under its name it is there completely or not at all. What a file system or a failing disk
may still damage later is found by the checksums, and the checkpoint before is used.

Nothing is pickled, so loading a checkpoint cannot run code. Optimiser state is therefore taken
apart into tensors, whose names in the file say where they belong (`0.17.exp_avg`: optimiser,
parameter, key), and plain values, which go into state.json.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor

from tunesmith.distributed.checkpoint import (
    Stored,
    first_failure,
    read_shards,
    start_writing_shards,
    stored,
)
from tunesmith.distributed.group import gathered, of_leader, place, together
from tunesmith.errors import TrainingError, is_disk_full
from tunesmith.ranks import is_leader
from tunesmith.rundir import file_sha256, sync, sync_tree
from tunesmith.train.offload_states import StatesAway
from tunesmith.train.one_by_one import OneByOne, save_one_by_one

MODEL, OPTIMIZER, STATE = FILES = ("model.safetensors", "optimizer.safetensors", "state.json")
MODEL_SHARDS, OPTIMIZER_SHARDS = "model", "optimizer"
RNG = "rng."
# torchao's 8-bit tensors are saved as parts, `0.17.exp_avg/codes` and so on, and what is needed to
# put these together again is in state.json, as `exp_avg/8bit`.
PART, QUANTISED = "/", "/8bit"

Tensors = dict[str, torch.Tensor]
Values = dict[str, Any]
"""Plain values as json reads them; they go unchanged to where they came from."""


@dataclass(frozen=True)
class Checkpoint:
    """An intact checkpoint on disk; `state` is its state.json, the tensors are not loaded yet."""

    path: Path
    step: int
    state: Values


@dataclass(frozen=True)
class Unfinished:
    """A checkpoint that will be in the folder `target`, and is being written under a temporary
    name; `hashes` gives the sha256 of the files that this rank reads, by their paths in the folder.
    """

    target: Path
    hashes: Future[dict[str, str]]

    def is_written(self) -> bool:
        """Whether this rank need not be waited for."""
        return self.hashes.done()

    def finish(self) -> Path:
        """Wait for all ranks, and give the checkpoint its name; see `save_checkpoint`."""
        temporary = _temporary(self.target)
        with _leaving_nothing(temporary, self.target):
            hashes = _of_all_ranks(self.hashes)
            if is_leader():
                _write(temporary / "manifest.json", json.dumps(hashes))
                # Contents before the rename: otherwise a power cut could leave the final name on
                # files that never reached the disk. Then the folder that holds the new name.
                sync_tree(temporary)
                _remove(self.target)
                temporary.rename(self.target)
                sync(self.target.parent)
        return of_leader(lambda: self.target)


def save_checkpoint(
    folder: Path,
    step: int,
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    state: Mapping[str, object],
) -> Path:
    """Write checkpoint `step` and return its folder.

    `state` has the values that are not tensors. Raises TrainingError where the disk is full;
    earlier checkpoints are untouched then.
    """
    return begin_checkpoint(folder, step, model, optimizers, state).finish()


def begin_checkpoint(
    folder: Path,
    step: int,
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    state: Mapping[str, object],
    away: StatesAway | None = None,
) -> Unfinished:
    """Begin to write checkpoint `step` as all is now; see `save_checkpoint`. What is `away` of the
    optimisers' state is read one tensor at a time.

    Of several ranks each goes on when its part is copied; a process by itself has then written it.
    """
    target = folder / f"step-{step:06d}"
    temporary = _temporary(target)
    with _leaving_nothing(temporary, target):
        tensors, scalars = _optimizer_state(optimizers)
        values = json.dumps({**state, "step": step, "optimizers": scalars})
        of_leader(partial(_start_anew, temporary, values))
        model_tensors, others = weights(model), {**tensors, **_rng_state()}
        if together():
            parts = {MODEL_SHARDS: model_tensors, OPTIMIZER_SHARDS: others}
            written = start_writing_shards({temporary / name: part for name, part in parts.items()})
        else:
            save_file(model_tensors, temporary / MODEL)
            if away is None:
                save_file(others, temporary / OPTIMIZER)
            else:
                save_one_by_one(others, temporary / OPTIMIZER, away.numbers)
            written = []
        return Unfinished(target, _hashed_when(written, temporary))


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name}.tmp")


def _start_anew(folder: Path, values: str) -> None:
    _remove(folder)
    folder.mkdir(parents=True)
    _write(folder / STATE, values)


@contextmanager
def _leaving_nothing(temporary: Path, target: Path) -> Iterator[None]:
    """Where writing fails, what was written is removed; a full disk is named."""
    with naming_a_full_disk(target.parent, target):
        try:
            yield
        except (OSError, SafetensorError):
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _hashed_when(written: Sequence[Future[None]], folder: Path) -> Future[dict[str, str]]:
    """The sha256 of the files in a folder that this rank reads, once all is written; by one process
    now.
    """

    def hashes() -> dict[str, str]:
        for part in written:
            part.result()
        number, size = place()
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {p.relative_to(folder).as_posix(): file_sha256(p) for p in files[number::size]}

    reader = ThreadPoolExecutor(1)
    found = reader.submit(hashes)
    reader.shutdown(wait=not written)
    return found


def _of_all_ranks(hashes: Future[dict[str, str]]) -> dict[str, str]:
    """Those of every rank, in order; an error of one rank is raised on all."""
    mine: dict[str, str] | OSError | SafetensorError
    try:
        with first_failure():
            mine = hashes.result()
    except (OSError, SafetensorError) as error:
        mine = error
    found: dict[str, str] = {}
    for of_rank in gathered(mine):
        if isinstance(of_rank, Exception):
            raise of_rank
        found |= of_rank
    return dict(sorted(found.items()))


@contextmanager
def naming_a_full_disk(folder: Path, written: Path) -> Iterator[None]:
    """Turn an error of a full disk into a TrainingError that names the last intact checkpoint.

    `folder` has the checkpoints, `written` is what the error says was being written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not is_disk_full(error):
            raise
        last = latest_checkpoint(folder)
        what_is_left = f"{last.path.name} is whole" if last else "there is no earlier checkpoint"
        raise TrainingError(
            f"{written}: the disk is full; {what_is_left}",
            hint="free some space, then `tunesmith resume RUN` goes on from "
            "the last whole checkpoint",
        ) from error


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose files match their checksums, or None."""
    return find_checkpoints(folder).latest


@dataclass(frozen=True)
class Found:
    """The newest whole checkpoint of a folder, and those after it with what is wrong with each,
    newest first.
    """

    latest: Checkpoint | None
    damaged: list[tuple[Path, str]]


def find_checkpoints(folder: Path) -> Found:
    """What is there to resume from, by checksums."""
    damaged: list[tuple[Path, str]] = []
    for path in sorted(folder.glob("step-*"), key=_step_of, reverse=True):
        wrong = damage(path)
        if not wrong:
            return Found(read_checkpoint(path), damaged)
        damaged.append((path, wrong))
    return Found(None, damaged)


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a folder that has no `damage`."""
    return Checkpoint(path, _step_of(path), json.loads((path / STATE).read_text(encoding="utf-8")))


def damage(path: Path) -> str:
    """The first file of a checkpoint that is missing or does not match its checksum, in words with
    both hashes; empty where there is none.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        names = set(manifest)
        whole, shards = set(FILES) <= names, {STATE} < names and not names & {MODEL, OPTIMIZER}
        if not whole and not shards:
            return "manifest.json is damaged"
        for name in sorted(names):
            found, written = file_sha256(path / name), str(manifest[name])
            if found != written:
                return f"{name} has the sha256 {found[:12]}, written as {written[:12]}"
    except OSError as error:
        return f"{Path(error.filename or path).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return "manifest.json is damaged"
    return ""


def weights_sha256(path: Path) -> str:
    """Of the weights of a checkpoint, as its manifest has it; of shards, of the list of theirs."""
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    if MODEL in manifest:
        return str(manifest[MODEL])
    shards = sorted((n, sha) for n, sha in manifest.items() if n.startswith(f"{MODEL_SHARDS}/"))
    return sha256(json.dumps(shards).encode()).hexdigest()


def load_weights(path: Path, model: torch.nn.Module, alone: bool = False) -> None:
    """Copy a checkpoint's weights into the model's parameters; every rank its own parts, or one
    rank `alone` all of them.

    Raises TrainingError where names or shapes differ.
    """
    current = weights(model)
    found = _about(path, MODEL)
    wrong = [name for name in {*found, *current} if name not in found or name not in current]
    wrong += [
        name for name in found if name in current and found[name].shape != current[name].shape
    ]
    if wrong:
        raise TrainingError(
            f"{path}: made from another model: {min(wrong)} does not match", hint="use a new folder"
        )
    _read(path, MODEL, current, alone)


def _about(path: Path, name: str) -> dict[str, Stored]:
    """What a checkpoint's files of this `name` say of their tensors."""
    shards = path / name.removesuffix(".safetensors")
    if shards.is_dir():
        return stored(shards)
    with safe_open(path / name, framework="pt") as file:
        own = set(file.keys())
    return {key: about for key, about in stored(path).items() if key in own}


def _read(path: Path, name: str, into: Tensors, alone: bool = False) -> None:
    """Fill tensors from a checkpoint's files of this `name`."""
    shards = path / name.removesuffix(".safetensors")
    if shards.is_dir() or (together() and not alone):
        read_shards(shards if shards.is_dir() else path, into, alone)
        return
    with torch.no_grad():
        for key, tensor in load_file(path / name).items():
            into[key].copy_(tensor)


def load_optimizers(
    checkpoint: Checkpoint,
    optimizers: Sequence[torch.optim.Optimizer],
    away: StatesAway | None = None,
) -> None:
    """Restore optimiser and random-number state.

    The optimisers are freshly built, for the same parameters in the same order. Where their state
    is to be `away`, that of one weight at a time is read and put there.
    """
    tensors: Mapping[str, torch.Tensor] = (
        _optimizer_tensors(checkpoint.path, optimizers)
        if away is None or not (checkpoint.path / OPTIMIZER).exists()
        else OneByOne(checkpoint.path / OPTIMIZER)
    )
    names: dict[str, dict[int, list[str]]] = {}
    for name in tensors:
        owner, _, rest = name.partition(".")
        if owner.isdigit():
            names.setdefault(owner, {}).setdefault(int(rest.partition(".")[0]), []).append(name)
    for i, (optimizer, scalars) in enumerate(
        zip(optimizers, checkpoint.state["optimizers"], strict=True)
    ):
        # A learning rate that the optimiser keeps as a tensor (torchao's) has to become one again.
        groups = [
            saved
            | {
                key: torch.tensor(saved[key])
                for key, value in now.items()
                if isinstance(value, torch.Tensor)
            }
            for saved, now in zip(scalars["param_groups"], optimizer.param_groups, strict=True)
        ]
        of_weights = names.get(str(i), {})
        state_of = partial(_state_of, tensors, of_weights, scalars["state"])
        numbers = sorted({*of_weights, *map(int, scalars["state"])})
        if away is None:
            state = {number: state_of(number) for number in numbers}
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        else:
            _load_away(optimizer, numbers, state_of, groups, away)
    torch.set_rng_state(tensors[f"{RNG}cpu"])
    if f"{RNG}cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors[f"{RNG}cuda"])


def _state_of(
    tensors: Mapping[str, torch.Tensor],
    names: Mapping[int, Sequence[str]],
    scalars: Mapping[str, Values],
    number: int,
) -> Values:
    """The saved state of an optimiser's parameter of this number."""
    state = dict(scalars.get(str(number), {}))
    state |= {name.split(".", 2)[2]: tensors[name] for name in names.get(number, ())}
    _join_quantised(state)
    return state


def _load_away(
    optimizer: torch.optim.Optimizer,
    numbers: Sequence[int],
    state_of: Callable[[int], Values],
    groups: list[Values],
    away: StatesAway,
) -> None:
    """Load one parameter's state at a time, each put away before the next is read."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.load_state_dict({"state": {}, "param_groups": groups})
    loaded = {}
    for number in numbers:
        optimizer.load_state_dict({"state": {number: state_of(number)}, "param_groups": groups})
        away.put_away(optimizer, parameters[number])
        loaded[parameters[number]] = optimizer.state[parameters[number]]
    optimizer.state.update(loaded)


def _optimizer_tensors(path: Path, optimizers: Sequence[torch.optim.Optimizer]) -> Tensors:
    """The saved optimiser state under its names, spread over the ranks as the parameters are."""
    if not together() and (path / OPTIMIZER).exists():
        return load_file(path / OPTIMIZER)
    tensors: Tensors = {}
    for name, about in _about(path, OPTIMIZER).items():
        shape, dtype = about.shape, about.dtype
        owner, _, rest = name.partition(".")
        parameter = _parameter(optimizers, owner, rest.partition(".")[0])
        if parameter is not None and parameter.shape == shape:
            tensors[name] = torch.zeros_like(parameter.detach(), dtype=dtype)
        else:
            tensors[name] = torch.zeros(shape, dtype=dtype)
    _read(path, OPTIMIZER, tensors)
    return tensors


def _parameter(
    optimizers: Sequence[torch.optim.Optimizer], owner: str, number: str
) -> torch.Tensor | None:
    """What a name in the file is about; None for what is about no parameter."""
    if not owner.isdigit():
        return None
    groups = optimizers[int(owner)].param_groups
    parameters: list[torch.Tensor] = [p for group in groups for p in group["params"]]
    return parameters[int(number)]


def prune_checkpoints(folder: Path, step: int, keep: int, best_step: int | None) -> None:
    """Remove all but the best checkpoint and the newest `keep` up to the current `step`.

    Later ones are damaged and were passed over on resuming: they must not outlive good ones.
    """
    by_age = sorted((p for p in folder.glob("step-*") if _step_of(p) <= step), key=_step_of)
    for path in by_age[:-keep]:
        if _step_of(path) != best_step:
            _remove(path)


def weights(model: torch.nn.Module) -> Tensors:
    """The trainable parameters by name, detached; a tied weight appears once."""
    return {
        name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad
    }


def _optimizer_state(
    optimizers: Sequence[torch.optim.Optimizer],
) -> tuple[Tensors, list[Values]]:
    """Tensors under `optimizer.parameter.key`, and per optimiser the rest as plain values."""
    tensors: Tensors = {}
    others: list[Values] = []
    for i, optimizer in enumerate(optimizers):
        saved = optimizer.state_dict()
        scalars: dict[str, Values] = {}
        for parameter, values in saved["state"].items():
            for key, value in values.items():
                if hasattr(value, "__tensor_flatten__") and not isinstance(value, DTensor):
                    names, (signed, dtype) = value.__tensor_flatten__()
                    tensors |= {
                        f"{i}.{parameter}.{key}{PART}{name}": getattr(value, name) for name in names
                    }
                    about = {"signed": signed, "dtype": str(dtype).removeprefix("torch.")}
                    scalars.setdefault(str(parameter), {})[key + QUANTISED] = about
                elif isinstance(value, torch.Tensor):
                    tensors[f"{i}.{parameter}.{key}"] = value.contiguous()
                else:
                    scalars.setdefault(str(parameter), {})[key] = value
        others.append({"state": scalars, "param_groups": plain(saved["param_groups"])})
    return tensors, others


def _join_quantised(state: Values) -> None:
    """Put torchao's 8-bit tensors together again, in place."""
    for noted in [key for key in state if key.endswith(QUANTISED)]:
        # optional (the extra `gpu`), and only there for a run that used it
        from torchao.optim.subclass_8bit import OptimState8bit  # noqa: PLC0415

        key, about = noted.removesuffix(QUANTISED), state.pop(noted)
        pieces = {
            name.partition(PART)[2]: state.pop(name)
            for name in list(state)
            if name.startswith(key + PART)
        }
        state[key] = OptimState8bit.__tensor_unflatten__(
            pieces, (about["signed"], getattr(torch, about["dtype"]))
        )


def plain(value: object) -> object:
    """The same value as json can write it: tuples as lists, tensors of one number as numbers."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value.item() if isinstance(value, torch.Tensor) else value


def _rng_state() -> Tensors:
    states = {f"{RNG}cpu": torch.get_rng_state()}
    return (
        {**states, f"{RNG}cuda": torch.cuda.get_rng_state()}
        if torch.cuda.is_initialized()
        else states
    )


def _step_of(path: Path) -> int:
    number = path.name.removeprefix("step-")
    return int(number) if number.isdigit() else -1


def _remove(path: Path) -> None:
    """Delete a folder, after renaming it: none with a checkpoint's name is ever half deleted."""
    if path.exists():
        doomed = path.with_name(f".{path.name}.old")
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
