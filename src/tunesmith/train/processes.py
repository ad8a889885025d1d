"""One process trains one model: what would start several is refused before any work.

Under torchrun every process would prepare and train the whole run by itself, all in one folder. The
step plan can already divide a step among ranks (packing/plan.py); what is missing is the reduction
of gradients, and checkpoints that all ranks write together.
"""

from __future__ import annotations

import os

from tunesmith.errors import InputError


def check_single_process() -> None:
    """InputError where a launcher such as torchrun started several processes (WORLD_SIZE > 1)."""
    world_size = os.environ.get("WORLD_SIZE", "")
    if world_size.isdigit() and int(world_size) > 1:
        raise InputError(
            f"{world_size} processes were started (WORLD_SIZE={world_size}), "
            "and tunesmith trains in one",
            hint="run `tunesmith` without torchrun, or with --nproc-per-node=1",
        )
