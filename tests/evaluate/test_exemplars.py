"""The exemplars that the few-shot base is shown."""

from __future__ import annotations

from support import byte_tokenizer, example, plain_chat, tiny_llama

from tunesmith.chat.format import chat_format
from tunesmith.evaluate.few_shot import few_shot_exemplars, with_exemplars
from tunesmith.evaluate.systems import Decoding

CHATML = (
    "{%- for m in messages -%}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)
DECODING = Decoding(4, (1,), frozenset(), 4096, rank_choices=False)


def test_an_instruct_base_is_shown_exemplars_as_turns_of_its_own_chat_template() -> None:
    chat = chat_format(byte_tokenizer(chat_template=CHATML))
    prompted, shown = with_exemplars(
        [example(3)], [example(1), example(2)], chat, tiny_llama(), DECODING
    )
    assert shown == 2
    assert chat.prompts(prompted)[0] == (
        "<|user|>Q1</s><|assistant|>yes</s><|user|>Q2</s><|assistant|>yes</s><|user|>Q3</s><|assistant|>"
    )


def test_a_base_without_a_chat_template_is_shown_exemplars_as_text() -> None:
    prompted, _ = with_exemplars(
        [example(3)], [example(1), example(2)], plain_chat(), tiny_llama(), DECODING
    )
    assert prompted[0].prompt == "Q1 yes\n\nQ2 yes\n\nQ3"


def test_as_many_exemplars_are_shown_as_the_model_has_room_for() -> None:
    long = example(9, prompt="x" * 30)
    # 1 token of <s>, 31 of the prompt, 4 of the answer; an exemplar is "Q1 yes" and two line ends:
    # 8 tokens
    model = tiny_llama(positions=1 + 31 + 4 + 8 + 7)
    prompted, shown = with_exemplars(
        [long, example(3)], [example(1), example(2)], plain_chat(), model, DECODING
    )
    assert [e.prompt.count("yes") for e in prompted] == [1, 2]
    assert shown == 1.5


def test_exemplars_are_training_rows_of_every_label_in_turn_and_always_the_same() -> None:
    train = [
        example(i, completion="yes" if i % 3 else "no", choices=("no", "yes")) for i in range(30)
    ]
    chosen = few_shot_exemplars(train, 4, seed=0)
    assert sorted(e.completion for e in chosen) == ["no", "no", "yes", "yes"]
    assert len({e.id for e in chosen}) == 4
    assert few_shot_exemplars(train[::-1], 4, seed=0) == chosen
