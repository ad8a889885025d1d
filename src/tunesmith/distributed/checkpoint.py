"""Tensors that are spread over the ranks, on disk: by torch's distributed checkpoints (DCP), in
safetensors.

Each rank writes its parts into one file, whose header says where in the whole tensors they belong.
So any number of ranks can read what any other number has written, one process included, and each
reads only the parts that it holds. Nothing is pickled, as it would be in DCP's own format: loading
a checkpoint cannot run code.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from tunesmith.distributed.group import LONGEST_STEP, together


@dataclass(frozen=True)
class Stored:
    """What a file says of a tensor in it."""

    shape: torch.Size
    dtype: torch.dtype


def start_writing_shards(
    folders: Mapping[Path, Mapping[str, torch.Tensor]],
) -> list[Future[None]]:
    """Copy tensors and write them into folders while the caller goes on; every rank calls this with
    its parts of the same ones. What comes back is done when all ranks have written a folder.

    A tensor that is no DTensor is the same on all ranks, and written by one.
    """
    groups = _groups_for_writing(dist.group.WORLD, len(folders))
    return [
        cast(
            "Future[None]",
            async_save(
                dict(tensors),
                storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True),
                process_group=group,
            ),
        )
        for (folder, tensors), group in zip(folders.items(), groups, strict=True)
    ]


@lru_cache(maxsize=1)
def _groups_for_writing(_: object, number: int) -> list[dist.ProcessGroup]:
    """One for each folder that is written at a time, for this start of the processes: what threads
    tell each other must not get between the steps of a training.
    """
    return [
        cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=LONGEST_STEP))
        for _ in range(number)
    ]


def read_shards(folder: Path, tensors: Mapping[str, torch.Tensor], alone: bool = False) -> None:
    """Fill tensors from the safetensors files in a folder, whoever wrote them.

    Every rank calls this, unless it is `alone` in reading.
    """
    reader = HuggingFaceStorageReader(str(folder))
    with first_failure(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as is meant
        load(dict(tensors), storage_reader=reader, no_dist=alone or not together())


def stored(folder: Path) -> dict[str, Stored]:
    """The tensors in a folder by name."""
    found = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {
        name: Stored(about.size, about.properties.dtype)
        for name, about in found.items()
        if isinstance(about, TensorStorageMetadata)
    }


@contextmanager
def first_failure() -> Iterator[None]:
    """DCP gathers what went wrong on each rank; the first of these is raised on all."""
    try:
        yield
    except CheckpointException as error:
        wrong, _ = next(iter(error.failures.values()))
        raise wrong from error
