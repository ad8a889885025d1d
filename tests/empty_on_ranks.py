"""What tests let ranks do with models that are read in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from tunesmith.distributed.sharding import whole_weights
from tunesmith.errors import ModelError
from tunesmith.models.load import load_empty, load_model
from tunesmith.ranks import is_leader
from tunesmith.recipe import FsdpConfig
from tunesmith.train.sharded import shard_over_ranks

CPU = torch.device("cpu")


def read_in_parts(folder: Path) -> dict[str, Any]:
    """A model's weights in full, how many numbers of them this rank had before, and its buffers."""
    found = load_empty(str(folder))
    assert found is not None
    model, stored = found
    assert all(weight.is_meta for weight in model.parameters())
    sharded = shard_over_ranks(model, "float32", CPU, FsdpConfig(), stored.read_into)
    parts = [weight for weight in sharded.root.model.parameters() if isinstance(weight, DTensor)]
    return {
        "own": sum(part.to_local().numel() for part in parts),
        "weights": {n: w.numpy() for n, w in whole_weights(sharded.root.model).items()},
        "buffers": {n: b.numpy() for n, b in sharded.root.model.named_buffers()},
        "tied": len({id(w) for _, w in sharded.root.model.named_parameters()}),
    }


def refused(folder: Path) -> str:
    """What a rank says of weights that it does not take."""
    try:
        read_in_parts(folder)
    except ModelError as error:
        return error.message
    return "read"


def own_code_saved(folder: Path, target: Path) -> bool:
    """Save a model with trusted code of its own that was read in parts; whether it is the one that
    is loaded whole.
    """
    found = load_empty(str(folder), trust_remote_code=True)
    assert found is not None
    model, stored = found
    stored.read_into(model, CPU)
    if is_leader():
        model.save_pretrained(target)
    one = dict(load_model(str(folder), trust_remote_code=True).named_parameters())
    return all(torch.equal(weight, one[name]) for name, weight in model.named_parameters())
