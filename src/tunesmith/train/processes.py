"""What several processes cannot do, refused before any work."""

from __future__ import annotations

from tunesmith.distributed.group import together
from tunesmith.errors import InputError
from tunesmith.models.load import default_device
from tunesmith.ranks import world_size
from tunesmith.recipe import FsdpConfig, TrainConfig

ONE_PROCESS_ONLY = {
    "merge_with_base": 0.0,
    "optim": "adamw",
    "weights_dtype": "float32",
    "neftune_noise_alpha": 0.0,
    "torch_compile": False,
    "use_liger_kernel": False,
    "optim_in_backward": False,
    "offload_optimizer": None,
    "offload_activations": None,
}
"""Keys of `train` that several processes take at this value alone: what others do has not been
shown to be the same on a sharded model."""


def check_processes(config: TrainConfig) -> None:
    """InputError where torchrun started several processes (WORLD_SIZE > 1) for what one must do."""
    if not together():
        check_single_process()
    check_shared(config, world_size(), default_device())


def check_shared(config: TrainConfig, number: int, device: str) -> None:
    """InputError for what so many processes cannot do, each with a device of this type."""
    _check_fsdp(config.fsdp, number, device)
    if number == 1:
        return
    asked = {key: (getattr(config, key), value) for key, value in ONE_PROCESS_ONLY.items()}
    if config.lora is not None:
        asked["lora.load_in_4bit"] = (config.lora.load_in_4bit, False)
    for key, (found, value) in asked.items():
        if found != value:
            raise InputError(
                f"train.{key} with {number} processes: only one process can do that",
                hint=f"train.{key}={as_written(value)}, or run `tunesmith` without torchrun",
            )


def as_written(value: object) -> str:
    """A key's value as a recipe writes it."""
    return "null" if value is None else str(value).lower()


def _check_fsdp(config: FsdpConfig, number: int, device: str) -> None:
    """InputError for a division that these processes cannot make, and for offload without a GPU."""
    if config.shards is not None and number % config.shards:
        raise InputError(
            f"train.fsdp.shards = {config.shards} with {number} process"
            f"{'es' if number > 1 else ''}: they are not divided into groups of {config.shards}",
            hint="train.fsdp.shards=null, or a number that divides that of the processes",
        )
    if config.cpu_offload and (number == 1 or device != "cuda"):
        raise InputError(
            "train.fsdp.cpu_offload needs several processes, each with an NVIDIA GPU: there "
            f"{'are' if number > 1 else 'is'} {number}, on {device}",
            hint="train.fsdp.cpu_offload=false",
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
