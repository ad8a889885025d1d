"""`tunesmith chat`: a line in, the tuned model's answer out, in the prompt layout it was trained
on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from transformers import PreTrainedModel

from tunesmith.chat.format import ChatFormat
from tunesmith.errors import DataError
from tunesmith.evaluate.generate import generate
from tunesmith.inert import inert
from tunesmith.models.load import max_positions
from tunesmith.run_files import run_state
from tunesmith.stages.common import (
    check_tuned,
    load_tuned,
    open_run,
    prompt_writer,
    run_recipe,
    tuned_chat,
)


def chat(folder: Path, *, once: str | None = None, plain: bool = False) -> None:
    """Answer `once`, or line after line until an empty line or Ctrl-D; each line stands alone.

    The text goes into the task's prompt template where that has a single text slot, unless `plain`.
    """
    run = open_run(folder)
    if not run_state(run).trained:
        raise DataError(
            f"{folder}: no tuned model in this run",
            hint=f"finish it with `tunesmith resume {folder}`",
        )
    check_tuned(run)
    recipe = run_recipe(run)
    write = str if plain else prompt_writer(run) or str
    reply = _reply(load_tuned(run, recipe), tuned_chat(run, recipe), write)
    if once is not None:
        print(inert(reply(once)))
        return
    print(f"model: {run.model}   an empty line ends", file=sys.stderr)
    if write is not str:
        print(f"each line is put into the task's prompt:\n{write('<your line>')}", file=sys.stderr)
    for line in _lines():
        print(inert(reply(line)), flush=True)


def _reply(
    model: PreTrainedModel, chat: ChatFormat, write: Callable[[str], str]
) -> Callable[[str], str]:
    budget = model.generation_config.max_new_tokens or 256
    limit = max_positions(model.config) - budget

    def reply(text: str) -> str:
        ids = chat.encode([chat.prompt_text(write(text))])[0]
        if len(ids) > limit:
            return f"(too long: {len(ids)} tokens, the model reads {limit})"
        output = generate(model, [ids], stop_ids=chat.stop_ids(model), max_new_tokens=budget)[0]
        return chat.read(str(chat.tokenizer.decode(output.ids, skip_special_tokens=True)))

    return reply


def _lines() -> Iterator[str]:
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if not line:
            return
        yield line
