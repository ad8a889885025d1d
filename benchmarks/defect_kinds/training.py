"""The pains people report first: loss on the wrong tokens, models that never stop, cut answers,
leaky splits, models that are no models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

from defect_kinds.job import Job, Kind, Row, Said, good_rows
from defect_kinds.models import changed_model, without_a_tensor

CHATML = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
NO_STOP = (
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
NO_GENERATION_PROMPT = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + eos_token }}{% endfor %}"
)
NO_USER = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{% endif %}{% endfor %}"
)


Turns = Callable[[int, str, str], Sequence[dict[str, Any]]]


def conversations(turns: Turns) -> list[Row]:
    """Conversations made from the good rows, given the number, the text and the label of each."""
    return [
        {"messages": turns(number, row["text"], row["label"])}
        for number, row in enumerate(good_rows())
    ]


def chats(turns: Turns, template: str = CHATML) -> Callable[[Job], list[str]]:
    """Conversations for a model with a chat template."""

    def inject(job: Job) -> list[str]:
        path = job.write("chat.jinja", template)
        return job.prepare(job.jsonl(conversations(turns)), f"chat_template={path}", task="")

    return inject


def turn(role: str, content: object, **more: object) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def bad_answer_first(number: int, text: str, label: str) -> list[dict[str, Any]]:
    return [
        turn("user", text), turn("assistant", f"WRONG {number}", weight=0),
        turn("user", "Look again."), turn("assistant", label, weight=1),
    ]  # fmt: skip


def asked_and_answered(number: int, text: str, label: str) -> list[dict[str, Any]]:
    return [turn("user", f"{text} Good or bad?"), turn("assistant", label)]


def question_last(number: int, text: str, label: str) -> list[dict[str, Any]]:
    rest = [turn("user", "And why?")] if number % 5 == 0 else []
    return [*asked_and_answered(number, text, label), *rest]


def no_answer(number: int, text: str, label: str) -> list[dict[str, Any]]:
    turns = asked_and_answered(number, text, label)
    return turns[:1] if number % 5 == 0 else turns


def tool_call(number: int, text: str, label: str) -> list[dict[str, Any]]:
    call = {"id": "c", "type": "function", "function": {"name": "stock", "arguments": "{}"}}
    return [turn("user", text), turn("assistant", "", tool_calls=[call])]


def picture(number: int, text: str, label: str) -> list[dict[str, Any]]:
    parts = [{"type": "image", "url": "x.png"}, {"type": "text", "text": text}]
    return [turn("user", parts), turn("assistant", label)]


def unknown_role(number: int, text: str, label: str) -> list[dict[str, Any]]:
    return [turn("customer", text), turn("assistant", label)]


def trained_texts(job: Job) -> list[str]:
    """What is trained of each training row, decoded: the positions with a label."""
    import pyarrow.parquet as pq

    from tunesmith.models.load import load_tokenizer, resolve_model

    tokenizer = load_tokenizer(resolve_model("built-in"))
    table = pq.read_table(job.run / "data" / "train.parquet").to_pylist()
    return [tokenizer.decode(row["input_ids"][row["num_prompt_tokens"] :]) for row in table]


def trains_the_label_and_its_end(job: Job, _: Said) -> bool:
    from tunesmith.models.load import load_tokenizer, resolve_model

    end = load_tokenizer(resolve_model("built-in")).eos_token
    texts = {text.strip() for text in trained_texts(job)}
    return texts == {f"good{end}", f"bad{end}"}


def ends_with_the_label(job: Job, _: Said) -> bool:
    """What the served prompt lacks, the header of the answer, is trained before it."""
    from tunesmith.models.load import load_tokenizer, resolve_model

    end = load_tokenizer(resolve_model("built-in")).eos_token
    texts = {text.strip() for text in trained_texts(job)}
    return texts == {f"<|assistant|>good{end}", f"<|assistant|>bad{end}"}


def never_trains(word: str) -> Callable[[Job, Said], bool]:
    def right(job: Job, _: Said) -> bool:
        texts = trained_texts(job)
        return len(texts) > 0 and not any(word in text for text in texts)

    return right


def pairs(
    completion: Callable[[int, str], object],
    *overrides: str,
    prompt: Callable[[int, str], str] = lambda _, text: text,
) -> Callable[[Job], list[str]]:
    """prompt and completion columns made from the good rows."""

    def inject(job: Job) -> list[str]:
        rows = [
            {"prompt": prompt(number, row["text"]), "completion": completion(number, row["label"])}
            for number, row in enumerate(good_rows())
        ]
        return job.prepare(job.jsonl(rows), *overrides, task="")

    return inject


def indented(number: int, label: str) -> str:
    return f"    return {number}  # {label}\n"


def keeps_its_blanks(job: Job, _: Said) -> bool:
    return all(answer.startswith("    return ") for answer in job.answers())


def every_fifth(value: object) -> Callable[[int, str], object]:
    return lambda number, label: value if number % 5 == 0 else label


def repeated(job: Job) -> list[str]:
    rows = good_rows(40)
    return job.prepare(job.csv([*rows, *rows, *rows]))


def dropped_once(job: Job, _: Said) -> bool:
    return job.ledger()["rows"]["duplicates"] == 80 and splits_share_nothing(job)


def splits_share_nothing(job: Job, of: Callable[[Row], Hashable] = lambda e: e["prompt"]) -> bool:
    """No two splits have an example with the same prompt, or the same of something else."""
    train, validation, test = (
        {of(e) for e in job.examples(s)} for s in ("train", "validation", "test")
    )
    return not (train & validation | train & test | validation & test)


def near_twins(job: Job) -> list[str]:
    """Each text three times, but for its last word and the case of its first."""
    rows = []
    for row in good_rows(40):
        long = f"{row['text']} I would say so to anybody who asks me in the shop down the road"
        rows += [{**row, "text": f"{long} {end}"} for end in ("today", "tomorrow", "now")]
    return job.prepare(job.csv(rows))


def twins_stay_together(job: Job, _: Said) -> bool:
    return splits_share_nothing(job, of=lambda e: e["prompt"].partition(" I would say")[0])


def authors(job: Job) -> list[str]:
    """Several rows of one author, who is named as the group."""
    rows = [{**row, "author": f"author {n % 12}"} for n, row in enumerate(good_rows())]
    return job.prepare(job.csv(rows), "data.split.group=author")


def authors_stay_together(job: Job, _: Said) -> bool:
    return splits_share_nothing(job, of=lambda e: e["group"])


def test_rows_in_train(job: Job) -> list[str]:
    rows = good_rows(72)
    test = job.csv(rows[:12], "test.csv")
    return job.prepare(job.csv(rows), f"data.test_source={test}")


def none_is_trained(job: Job, _: Said) -> bool:
    return job.ledger()["rows"]["leaked"] == 12 and splits_share_nothing(job)


def few_rows(n: int) -> Callable[[Job], list[str]]:
    return lambda job: job.prepare(job.csv(good_rows(n)))


def cut_weights(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def lfs_pointer(model: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4000000\n"
    (model / "model.safetensors").write_text(pointer)


def config(**values: object) -> Callable[[Path], object]:
    def change(model: Path) -> None:
        path = model / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


KINDS = [
    Kind("pains", "a bad answer of weight 0 in a conversation", chats(bad_answer_first), "", 0,
         never_trains("WRONG")),
    Kind("pains", "prompts in the loss: only the label and its end are trained",
         pairs(lambda _, x: x), "", 0, trains_the_label_and_its_end),
    Kind("pains", "a chat template without a stop token", chats(asked_and_answered, NO_STOP),
         "(?i)stop|end", 0, trains_the_label_and_its_end),
    Kind("pains", "a chat template without a generation prompt",
         chats(asked_and_answered, NO_GENERATION_PROMPT), "", 0, ends_with_the_label),
    Kind("pains", "a chat template that leaves the question out",
         chats(asked_and_answered, NO_USER), r"template.*\nhint: "),
    Kind("pains", "conversations that end with a question", chats(question_last),
         r"rows\.jsonl:1: messages ends with a user turn\nhint: "),
    Kind("pains", "conversations without an answer, one in five", chats(no_answer),
         r"rows\.jsonl:1: messages ends with a user turn\nhint: "),
    Kind("pains", "tool calls, and a chat template that does not write them",
         chats(tool_call), r"rows\.jsonl:1"),
    Kind("pains", "pictures in messages", chats(picture), r"rows\.jsonl:1"),
    Kind("pains", "a role that nobody knows", chats(unknown_role), r"customer"),
    Kind("pains", "answers that are longer than max_length",
         pairs(lambda n, x: f"{x} " * (400 if n % 5 == 0 else 4), "train.max_length=256"),
         r"12 of 60 rows"),
    Kind("pains", "prompts that are longer than the model reads",
         pairs(lambda _, x: x, prompt=lambda n, x: x * (400 if n % 5 == 0 else 1)),
         r"12 of 60 rows"),
    Kind("pains", "empty answers, one in five", pairs(every_fifth("")), r"12 of 60 rows"),
    Kind("pains", "answers of blanks, one in five", pairs(every_fifth("  ")), r"12 of 60 rows"),
    Kind("pains", "missing answers (null), one in five", pairs(every_fifth(None)),
         r"12 of 60 rows"),
    Kind("pains", "answers that are NaN, one in five", pairs(every_fifth(float("nan"))),
         r"12 of 60 rows"),
    Kind("pains", "code that begins with blanks", pairs(indented), "", 0, keeps_its_blanks),
    Kind("pains", "every row three times", repeated, r"duplicate", 0, dropped_once),
    Kind("pains", "every row three times, nearly", near_twins, r"near-duplicate", 0,
         twins_stay_together),
    Kind("pains", "rows of one author in all splits", authors, "", 0, authors_stay_together),
    Kind("pains", "the test file's rows in the training file", test_rows_in_train,
         r"leaked|in the test", 0, none_is_trained),
    Kind("pains", "three rows", few_rows(3), r"train \(1 rows\) lacks 1 of the 2 classes",
         0),
    Kind("pains", "ten rows, of which one is tested", few_rows(10), r"note: .*test", 0),
    Kind("pains", "a model that is nowhere",
         lambda job: job.prepare(job.csv(good_rows()), "model=./no/such/model"), r"no such folder"),
    Kind("pains", "an empty folder as the model",
         lambda job: job.prepare(job.csv(good_rows()), f"model={job.write('m/x', '').parent}"),
         r"config\.json|no model"),
    Kind("pains", "weights that were cut off", changed_model(cut_weights), r"model\.safetensors"),
    Kind("pains", "a pointer of git-lfs for weights", changed_model(lfs_pointer), r"(?i)lfs"),
    Kind("pains", "a tensor is missing", changed_model(without_a_tensor), r"layers\."),
    Kind("pains", "a config that does not fit the weights",
         changed_model(config(intermediate_size=77)), r"77"),
    Kind("pains", "a config of no known kind", changed_model(config(model_type="lama")), r"lama"),
    Kind("pains", "a model without a tokenizer",
         changed_model(lambda model: (model / "tokenizer.json").unlink()),
         r"tokenizer.*\nhint: "),
]  # fmt: skip
