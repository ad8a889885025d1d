"""What several processes cannot do, refused before any work."""

from __future__ import annotations

from tunesmith.distributed.group import together
from tunesmith.errors import InputError
from tunesmith.ranks import world_size
from tunesmith.recipe import TrainConfig

ONE_PROCESS_ONLY = {
    "lora": None,
    "merge_with_base": 0.0,
    "optim": "adamw",
    "weights_dtype": "float32",
    "neftune_noise_alpha": 0.0,
    "torch_compile": False,
    "use_liger_kernel": False,
}
"""Keys of `train` that several processes take at this value alone: what others do has not been
shown to be the same on a sharded model."""


def check_processes(config: TrainConfig) -> None:
    """InputError where torchrun started several processes (WORLD_SIZE > 1) for what one must do."""
    if not together():
        check_single_process()
        return
    for key, value in ONE_PROCESS_ONLY.items():
        found = getattr(config, key)
        if found != value:
            shown = "null" if value is None else str(value).lower()
            raise InputError(
                f"train.{key} with {world_size()} processes: only one process can do that",
                hint=f"train.{key}={shown}, or run `tunesmith` without torchrun",
            )


def check_single_process() -> None:
    """InputError where a launcher such as torchrun started several for a command that is one's."""
    number = world_size()
    if number > 1:
        raise InputError(
            f"{number} processes were started (WORLD_SIZE={number}), and only "
            "`tunesmith run` and `tunesmith resume` share their work among several",
            hint="run this command without torchrun, or with --nproc-per-node=1",
        )
