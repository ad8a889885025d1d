"""What a saved model folder answers in a process that knows nothing of tunesmith: a script, run by
verify.py.

It reads a job (JSON) on stdin and writes what it found to stdout: the prompts' ids from
`apply_chat_template`, the answers from `generate`, all settings from the folder. Where an answer is
not the expected one it tells how far apart the two tokens were at which they part, in float32
logits: a tie, which another order of additions decides otherwise, is no difference of the model.
"""

from __future__ import annotations

import json
import sys
from typing import Any, NotRequired, TypedDict, cast

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

BATCH = 8


class Asked(TypedDict):
    """One row: what is rendered, the stored answer, its token ids, and the same as the template
    writes it, for an answer without ids.
    """

    messages: list[dict[str, str]]
    tools: list[Any] | None
    text: str
    token_ids: list[int]
    trained_text: str


class Row(TypedDict):
    """What a row's answer was; `gap`: see `_gap`."""

    prompt_ids: list[int]
    last_id: int | None
    text: str
    gap: NotRequired[float | None]


def main() -> None:
    """A job on stdin, the answers on stdout."""
    job = json.load(sys.stdin)
    remote: bool = job["trust_remote_code"]
    asked: list[Asked] = job["rows"]
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        job["folder"], trust_remote_code=remote, padding_side="left"
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        job["folder"],
        dtype=getattr(torch, job["dtype"]),
        trust_remote_code=remote,
        use_safetensors=True,
    )
    prompts = [_prompt(tokenizer, row) for row in asked]
    # rows of a length together: padding costs time, and in half precision it moves ties
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: dict[int, list[int]] = {}
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        answers |= dict(
            zip(rows, _answers(model, tokenizer, [prompts[i] for i in rows]), strict=True)
        )
    found = [_row(tokenizer, prompts[i], answers[i]) for i in range(len(prompts))]
    different = [i for i, row in enumerate(asked) if _parts(found[i]["text"], answers[i], row)]
    if different:
        model = model.float()
        for i in different:
            other = (
                asked[i]["token_ids"]
                or tokenizer(asked[i]["trained_text"], add_special_tokens=False).input_ids
            )
            found[i]["gap"] = _gap(model, prompts[i], answers[i], other)
    json.dump(found, sys.stdout)


def _parts(text: str, answer: list[int], row: Asked) -> bool:
    """Whether the answer is neither the stored one nor goes on from one that was cut."""
    if text.strip() == row["text"].strip():
        return False
    if row["token_ids"]:
        return answer[: len(row["token_ids"])] != row["token_ids"]
    return not text.strip().startswith(row["text"].strip())


def _prompt(tokenizer: PreTrainedTokenizerBase, row: Asked) -> list[int]:
    found = tokenizer.apply_chat_template(
        row["messages"], tools=row["tools"], add_generation_prompt=True
    )
    return cast("dict[str, list[int]]", found)["input_ids"]


def _answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]]
) -> list[list[int]]:
    """Without padding and stop token; the folder's own generation settings decide what ends an
    answer.
    """
    batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
    with torch.no_grad():
        whole: torch.Tensor = cast("Any", model).generate(**batch, do_sample=False)
    stops = model.generation_config.eos_token_id
    ends = set(stops if isinstance(stops, list) else [stops])
    answers: list[list[int]] = whole[:, batch["input_ids"].shape[1] :].tolist()
    return [
        ids[: next((at + 1 for at, token in enumerate(ids) if token in ends), len(ids))]
        for ids in answers
    ]


def _row(tokenizer: PreTrainedTokenizerBase, prompt: list[int], answer: list[int]) -> Row:
    return {
        "prompt_ids": prompt,
        "last_id": answer[-1] if answer else None,
        "text": str(tokenizer.decode(answer, skip_special_tokens=True)),
    }


@torch.no_grad()
def _gap(
    model: PreTrainedModel, prompt: list[int], answer: list[int], other: list[int]
) -> float | None:
    """Logits between the two tokens where the answers part; None where one is the other's
    beginning.
    """
    at = next((i for i, (a, b) in enumerate(zip(answer, other, strict=False)) if a != b), None)
    if at is None:
        return None
    logits_V = model(torch.tensor([prompt + answer[:at]])).logits[0, -1]
    return float((logits_V[answer[at]] - logits_V[other[at]]).abs())


if __name__ == "__main__":
    main()
