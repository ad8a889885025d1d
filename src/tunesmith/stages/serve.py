"""`tunesmith serve`: the tuned model behind an OpenAI-compatible address, by a server that exists.

vLLM's where it is installed, else that of transformers. Both write the conversation with the saved
chat template and stop as the saved generation config says, so they answer as was evaluated.
"""

from __future__ import annotations

import os
import sys

from tunesmith.errors import InputError
from tunesmith.packages import installed
from tunesmith.rundir import RunDir
from tunesmith.stages.common import check_trained, prompt_writer, run_recipe

NEEDED = ("fastapi", "uvicorn", "openai")
"""What transformers' server is made of, its extra `serving`."""


def start(command: list[str]) -> None:
    """Become the server: this process is replaced by it, and ends as it does."""
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 - our own list of arguments, no shell


def server_command(run: RunDir, host: str, port: int) -> list[str]:
    """What to start. It serves the run's model alone, under the name that /v1/models gives.

    Raises DataError where there is no model, InputError where no server is installed.
    """
    check_trained(run)
    model, where = str(run.model.resolve()), ["--host", host, "--port", str(port)]
    trusted = ["--trust-remote-code"] if run_recipe(run).trust_remote_code else []
    if installed("vllm"):
        vllm = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve"]
        return [*vllm, model, "--served-model-name", run.path.resolve().name, *where, *trusted]
    missing = [name for name in NEEDED if not installed(name)]
    if missing:
        raise InputError(
            f"no server is installed: transformers' needs {', '.join(missing)}",
            hint="pip install 'tunesmith[serve]', or vllm on a GPU",
        )
    transformers = [sys.executable, "-m", "transformers.cli.transformers", "serve"]
    return [*transformers, model, *where, *trusted]


def example_prompt(run: RunDir) -> str:
    """A user's turn as the model was trained on it; empty where a prompt takes more than a text."""
    write = prompt_writer(run)
    return "" if write is None else write("<your text>")
