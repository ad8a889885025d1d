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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from tunesmith.distributed.group import together


@dataclass(frozen=True)
class Stored:
    """What a file says of a tensor in it."""

    shape: torch.Size
    dtype: torch.dtype


def write_shards(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors into a folder; every rank calls this with its parts of the same ones.

    A tensor that is no DTensor is the same on all ranks, and written by one.
    """
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    with _first_failure():
        save(dict(tensors), storage_writer=writer)


def read_shards(folder: Path, tensors: Mapping[str, torch.Tensor], alone: bool = False) -> None:
    """Fill tensors from the safetensors files in a folder, whoever wrote them.

    Every rank calls this, unless it is `alone` in reading.
    """
    reader = HuggingFaceStorageReader(str(folder))
    with _first_failure(), warnings.catch_warnings():
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
def _first_failure() -> Iterator[None]:
    """DCP gathers what went wrong on each rank; the first of these is raised on all."""
    try:
        yield
    except CheckpointException as error:
        wrong, _ = next(iter(error.failures.values()))
        raise wrong from error
