"""Functions run on several processes at once, as torchrun would start them, without its start-up.

They are forked from a server that has torch and transformers loaded already; the tests' own process
cannot be forked, since autograd has threads there.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from tunesmith.distributed.group import process_group

SECONDS = 120  # far beyond what any takes, on a busy machine too
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tunesmith.stages.train", "torch.distributed.fsdp"])


def on_ranks(
    number: int, function: Callable[..., Any], *arguments: object, joined: bool = True
) -> list[Any]:
    """What the function, of an importable module, returns on each rank; AssertionError with the
    traceback of the rank that failed first. None for a rank that has ended with exit code 0.

    They can talk to each other already, unless the function sees to that itself (not `joined`).
    """
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    environment |= {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number)}
    started = []
    for rank in range(number):
        ours, theirs = _server.Pipe()
        own = environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = _server.Process(target=_work, args=(theirs, own, function, arguments, joined))
        process.start()
        theirs.close()
        started.append((process, ours))
    try:
        return _results([pipe for _, pipe in started])
    finally:
        for process, pipe in started:
            process.join(5)
            process.kill()
            process.join()
            process.close()
            pipe.close()


def _results(pipes: list[Any]) -> list[Any]:
    found: dict[Any, Any] = {}
    while len(found) < len(pipes):
        ready = wait([pipe for pipe in pipes if pipe not in found], SECONDS)
        assert ready, "a rank hangs"
        for pipe in ready:
            fine, found[pipe] = pipe.recv()
            assert fine, found[pipe]
    return [found[pipe] for pipe in pipes]


def _work(
    pipe: Connection,
    environment: dict[str, str],
    function: Callable[..., Any],
    arguments: Any,
    joined: bool,
) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        with process_group() if joined else nullcontext():
            found = (True, function(*arguments))
    except SystemExit as stop:
        found = (not stop.code, None if not stop.code else f"exit code {stop.code}")
    except BaseException:
        found = (False, traceback.format_exc())
    pipe.send(found)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
