"""Section 1: one value means the same in every kind of file, and odd values are said."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from defect_kinds.job import Job, Kind, answers_are, good_rows

TWO = {"good": 1, "bad": 0}


def relabelled(label: Callable[[int, str], Any]) -> Callable[[Job], list[str]]:
    """The good rows as JSON with other labels, given the row's number and its label."""

    def inject(job: Job) -> list[str]:
        rows = [
            {**row, "label": label(number, row["label"])} for number, row in enumerate(good_rows())
        ]
        return job.prepare(job.jsonl(rows))

    return inject


def mixed_truth(*spellings: Callable[[bool], Any]) -> Callable[[Job], list[str]]:
    """True and false in several spellings, one after the other."""

    def label(number: int, name: str) -> Any:
        return spellings[number % len(spellings)](name == "good")

    return relabelled(label)


def mixed_numbers(job: Job) -> list[str]:
    rows = good_rows()
    for number, row in enumerate(rows):
        value = TWO[row["label"]]
        row["label"] = value if number % 2 else f"{value}.0"
    return job.prepare(job.csv(rows))


def python_lists(job: Job) -> list[str]:
    messages = [
        [{"role": "user", "content": row["text"]}, {"role": "assistant", "content": row["label"]}]
        for row in good_rows()
    ]
    return job.prepare(job.csv([{"messages": str(turns)} for turns in messages]), task="")


def unquoted_names(job: Job) -> list[str]:
    return job.recipe("data: {source: ROWS, task: classify, labels: [no, yes]}\noutput_dir: RUN\n")


def comma_decimals(job: Job) -> list[str]:
    rows = [{"gold": f"{number},5", "model": f"{number + 40},5"} for number in range(1, 25)]
    path = job.csv(rows)
    return ["score", str(path), "--reference", "gold", "--prediction", "m=model", "--json"]


def label_sets(job: Job) -> list[str]:
    rows = [
        {"gold": ["joy", "anger"], "model": ["anger", "joy"]},
        {"gold": ["fear"], "model": ["fear", "joy"]},
    ]
    path = job.jsonl(rows * 12)
    return ["score", str(path), "--reference", "gold", "--prediction", "m=model", "--json"]


def unknown_characters(job: Job) -> list[str]:
    """A model whose tokenizer has a token for each letter and none for anything else."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    names = ["<s>", "</s>", "<unk>", *map(chr, range(32, 127)), "\n"]
    inner = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    from tokenizers import decoders

    inner.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(job.folder / "model")
    config = LlamaConfig(
        vocab_size=len(names), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(job.folder / "model")
    rows = [{**row, "text": row["text"] + " 你好"} for row in good_rows()]
    return job.prepare(job.csv(rows), f"model={job.folder / 'model'}")


def odd(every: int, spelled: Callable[[str], Any]) -> Callable[[int, str], Any]:
    """Each n-th label in another spelling."""
    return lambda number, label: spelled(label) if number % every == 0 else label


def scores(metric: str, value: float) -> Callable[[Job, Any], bool]:
    """What `score --json` gives for the one system."""

    def right(_: Job, said: Any) -> bool:
        found = json.loads(said.text[said.text.index("{") : said.text.rindex("}") + 1])
        return bool(abs(found["metrics"]["m"][metric]["mean"] - value) < 1e-9)

    return right


KINDS = [
    Kind("1", "JSON's true and CSV's True in one column", mixed_truth(bool, str), "", 0,
         answers_are("True", "False")),
    Kind("1", "True and a spreadsheet's TRUE in one column",
         mixed_truth(str, lambda x: str(x).upper()), "spells labels in several ways", 0),
    Kind("1", "labels 1 and 1.0 in one column", mixed_numbers, r"data\.labels: \[NAME OF 0", 0,
         answers_are("0", "1")),
    Kind("1", "labels are numbers without names", relabelled(lambda _, label: TWO[label]),
         r"data\.labels: \[NAME OF 0, NAME OF 1\]", 0),
    Kind("1", "a list as the label of a classification", relabelled(lambda _, x: [x, "new"]),
         r"rows\.jsonl:1: the column 'label' holds a list.*\nhint: .*multi_label_classify"),
    Kind("1", "a label is NaN in every twelfth row",
         relabelled(odd(12, lambda _: float("nan"))), r"rows\.jsonl:1\b.*"),
    Kind("1", "a label is null in every twelfth row", relabelled(odd(12, lambda _: None)),
         r"rows\.jsonl:1\b.*"),
    Kind("1", "the text None as a label", relabelled(odd(8, lambda _: "None")), "None", 0),
    Kind("1", "the text NaN as a label", relabelled(odd(8, lambda _: "NaN")), "NaN", 0),
    Kind("1", "the text null as a label", relabelled(odd(8, lambda _: "null")), "null", 0),
    Kind("1", "the text N/A as a label", relabelled(odd(8, lambda _: "N/A")), "N/A", 0),
    Kind("1", "a label in two cases: Good, good", relabelled(odd(5, str.title)),
         "spells labels in several ways", 0),
    Kind("1", "a label with a full stop", relabelled(odd(5, lambda x: f"{x}.")),
         "spells labels in several ways", 0),
    Kind("1", "a label with a blank at its end", relabelled(odd(5, lambda x: f"{x} ")),
         "", 0, answers_are("good", "bad")),
    Kind("1", "yes and no as names without quotes in YAML", unquoted_names,
         r"a word without quotes is true, false or null in YAML\nhint: quote them"),
    Kind("1", "conversations as Python prints them, in a CSV", python_lists,
         r"rows\.csv:2\b.*(?s:.)*hint: "),
    Kind("1", "score: 1,5 against 41,5", comma_decimals, "", 0, scores("number", 0.0)),
    Kind("1", "score: sets of labels in another order", label_sets, "", 0,
         scores("exact_set", 0.5)),
    Kind("1", "characters that the model's tokenizer does not know", unknown_characters,
         r"of the prompts' tokens are <unk>.*你, 好", 0),
]  # fmt: skip
