"""`tunesmith chat`: a line in, the tuned model's answer out, in the prompt layout it was trained
on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from transformers import PreTrainedModel

from tunesmith.chat.format import ChatFormat
from tunesmith.evaluate.generate import generate
from tunesmith.inert import inert
from tunesmith.models.load import fit_embeddings, max_positions
from tunesmith.stages.common import (
    check_base,
    check_trained,
    load_base,
    load_tuned,
    open_run,
    prompt_writer,
    run_recipe,
    tuned_chat,
)


def chat(
    folder: Path, *, once: str | None = None, plain: bool = False, compare: bool = False
) -> None:
    """Answer `once`, or line after line until an empty line or Ctrl-D; each line stands alone.

    The text goes into the task's prompt template where that has a single text slot, unless `plain`.
    With `compare` the base model answers as well; DataError where it is not the run's any more.
    """
    run = open_run(folder)
    check_trained(run)
    recipe = run_recipe(run)
    write = str if plain else prompt_writer(run) or str
    if compare:
        check_base(run, recipe)
    tuned, form = load_tuned(run, recipe), tuned_chat(run, recipe)
    reply = _reply(tuned, form, write, tuned)
    if compare:
        base = load_base(recipe)
        fit_embeddings(base, form.tokenizer)
        reply = _beside(_reply(base, form, write, tuned), reply)
    if once is not None:
        print(inert(reply(once)))
        return
    print(f"model: {run.model}   an empty line ends", file=sys.stderr)
    if write is not str:
        print(f"each line is put into the task's prompt:\n{write('<your line>')}", file=sys.stderr)
    for line in _lines():
        print(inert(reply(line)), flush=True)


Reply = Callable[[str], str]


def _beside(base: Reply, tuned: Reply) -> Reply:
    """Both answers under each other, each with the name of its model."""
    return lambda text: f"base   {_indented(base(text))}\ntuned  {_indented(tuned(text))}"


def _indented(answer: str) -> str:
    return answer.replace("\n", "\n       ")


def _reply(
    model: PreTrainedModel, chat: ChatFormat, write: Callable[[str], str], tuned: PreTrainedModel
) -> Reply:
    """Answers of a model in the token budget and with the stop tokens of the tuned one, as they
    were evaluated.
    """
    budget, stop_ids = tuned.generation_config.max_new_tokens or 256, chat.stop_ids(tuned)
    limit = max_positions(model.config) - budget

    def reply(text: str) -> str:
        ids = chat.encode([chat.prompt_text(write(text))])[0]
        if len(ids) > limit:
            return f"(too long: {len(ids)} tokens, the model reads {limit})"
        output = generate(model, [ids], stop_ids=stop_ids, max_new_tokens=budget)[0]
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
