"""Conversations as a chat template serves them: what is trained is that prompt, and that answer."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import byte_tokenizer, shared, tiny_llama
from tokenizers_of_kinds import KINDS, tokenizer_for

from tunesmith.chat.format import ChatFormat, chat_format, complete_tokenizer
from tunesmith.chat.syntax import writes_content_as_is
from tunesmith.chat.template import CHAT_TEMPLATE, ChatSettings
from tunesmith.data.tokenize import Rejected, tokenize_examples
from tunesmith.errors import ModelError, RecipeError
from tunesmith.records import Example, TokenizedExample, Turn, Unserved, Written

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' "
    "}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def chatml_tokenizer():
    tokenizer = byte_tokenizer(bos=False, chat_template=CHATML)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return tokenizer


def test_a_plain_string_and_a_one_message_chat_give_the_same_ids() -> None:
    tokenizer = byte_tokenizer()
    complete_tokenizer(tokenizer)
    text = chat_format(tokenizer).prompt_text("Is it good?")
    assert tokenizer("Is it good?").input_ids == tokenizer(text, add_special_tokens=False).input_ids


def test_bos_is_not_written_for_a_tokenizer_that_writes_none() -> None:
    tokenizer = byte_tokenizer(bos=False)
    complete_tokenizer(tokenizer)
    assert chat_format(tokenizer).prompt_text("hi") == "hi"


def test_a_pad_token_that_is_the_stop_token_is_replaced_and_reported() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    notes = complete_tokenizer(tokenizer)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert "padded with its stop token </s>" in notes[-1]


def test_the_stop_token_is_the_one_the_chat_template_writes_after_the_answer() -> None:
    chat = chat_format(chatml_tokenizer())
    assert chat.stop_token == "<|im_end|>"
    assert chat.answer_after("yes") == "yes<|im_end|>"
    assert chat.prompt_text("hi") == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_every_stop_token_of_the_model_ends_an_answer_and_pad_never_does() -> None:
    tokenizer, model = chatml_tokenizer(), tiny_llama()
    model.generation_config.eos_token_id = [1, 2, 7]  # 2 is the pad token
    assert chat_format(tokenizer).stop_ids(model) == (
        tokenizer.convert_tokens_to_ids("<|im_end|>"),
        1,
        7,
    )


def test_a_chat_template_that_no_header_can_mend_is_refused() -> None:
    tokenizer = byte_tokenizer(chat_template="{{ messages[0]['content'] }}{{ eos_token }}")
    with pytest.raises(ModelError, match="does not continue its own prompt"):
        chat_format(tokenizer)


def test_encode_gives_the_tokenizers_own_ids_even_after_it_has_cut_and_padded() -> None:
    tokenizer = byte_tokenizer()
    complete_tokenizer(tokenizer)
    chat, texts = chat_format(tokenizer), ["<s>a long text</s>", "b", ""]
    wanted = tokenizer(texts, add_special_tokens=False).input_ids
    tokenizer(texts, padding=True, truncation=True, max_length=4)
    assert chat.encode(texts) == wanted
    assert chat.decode(wanted) == texts


PLAIN = "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
HI = (Turn("user", "Hi there"), Turn("assistant", "Hello."))
BRIEF = (Turn("system", "Be brief."),)
CASES: dict[str, dict[str, Any]] = {
    "plain": {"prompt": "Is it good?", "completion": "yes"},
    "blanks around the prompt": {"prompt": "  Is it\n good? \n\n", "completion": "yes"},
    "line ends before a letter": {"prompt": "Text:\n\n", "completion": "a b"},
    "several turns": {"prompt": "more", "completion": "ok then", "history": HI},
    "system turn": {"prompt": "q?", "completion": "ok", "history": BRIEF},
    "system and turns": {"prompt": "q?", "completion": "ok", "history": (*BRIEF, *HI)},
    "several lines": {"prompt": "q?", "completion": "one\n\ntwo\n  three"},
    "code": {"prompt": "def f():\n", "completion": "    return 1\n"},
    "reasoning": {"prompt": "q?", "completion": "<think>\nbecause\n</think>\n\n42"},
    "long": {"prompt": "word " * 60, "completion": "x" * 100},
    "a control token of another model": {"prompt": "say <|nothing|> [x] now", "completion": "x"},
    "two user turns": {"prompt": "and?", "completion": "x", "history": (Turn("user", "first"),)},
    "a first turn by the assistant": {
        "prompt": "and?",
        "completion": "x",
        "history": (Turn("assistant", "Welcome."),),
    },
    "other alphabets": {"prompt": "😀é", "completion": "naïve 😀 да"},
}
TEMPLATES = [
    "Qwen-Qwen2.5-7B-Instruct",
    "Qwen-Qwen3-0.6B",
    "alpaca",
    "chatml",
    "llama-2-chat",
    "vicuna",
    "zephyr",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "google-gemma-2-2b-it",
    "meta-llama-Llama-3.2-3B-Instruct",
    "microsoft-Phi-3.5-mini-instruct",
    "mistralai-Mistral-Nemo-Instruct-2407",
    "SmolLM2-135M-Instruct",
]


def example(prompt: str = "q?", completion: str = "x", **other: Any) -> Example:
    return Example("r1", "r1", "t", prompt, completion, source="rows.jsonl:2", **other)


def real_tokenizer(name: str, kind: str) -> Any:
    listed = json.loads(shared("chat_templates", "index.json").read_text(encoding="utf-8"))
    entry = next(entry for entry in listed if entry["name"] == name)
    template = shared("chat_templates", f"{name}.jinja").read_text(encoding="utf-8")
    return tokenizer_for(kind, template, entry["bos_token"], entry["eos_token"])


def messages_of(e: Example, chat: ChatFormat) -> list[dict[str, str]]:
    messages = [
        {"role": turn.role, "content": turn.content}
        for turn in (*e.history, Turn("user", e.prompt))
    ]
    if messages[0]["role"] == "system" and not chat.takes_system:
        system, first, *others = messages
        messages = [
            {"role": "user", "content": f"{system['content']}\n\n{first['content']}"},
            *others,
        ]
    return messages


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_every_row_is_trained_as_transformers_serves_it(name: str, kind: str) -> None:
    tokenizer = real_tokenizer(name, kind)
    original = tokenizer.chat_template
    complete_tokenizer(tokenizer)
    chat, trained = chat_format(tokenizer), 0
    for case, texts in CASES.items():
        row, messages = (
            tokenize_examples([example(**texts)], chat, 10_000)[0],
            messages_of(example(**texts), chat),
        )
        try:
            served = tokenizer.apply_chat_template(messages, add_generation_prompt=True)[
                "input_ids"
            ]
            asked = [*messages, {"role": "assistant", "content": texts["completion"]}]
            finished = tokenizer.apply_chat_template(asked, tokenize=False)
        except Exception:  # the template refuses these roles
            assert isinstance(row, Rejected), case
            assert case in ("two user turns", "a first turn by the assistant")
            continue
        assert isinstance(row, TokenizedExample), (case, row)
        answer = row.input_ids[row.num_prompt_tokens :]
        assert row.input_ids[: row.num_prompt_tokens] == served, case
        assert answer[-1] == chat.stop_id
        text = chat.decode([answer[:-1]])[0] + chat.stop_token
        assert text.lstrip(" ") in finished, case  # some tokenizers take a text's first blank away
        end = texts["completion"].rpartition("</think>")[2].strip()
        assert end in text
        trained += 1
    assert trained >= len(CASES) - 2
    if tokenizer.chat_template == original:
        assert chat_format(tokenizer) == chat


@pytest.mark.parametrize("name", TEMPLATES)
def test_completing_a_tokenizer_again_changes_nothing(name: str) -> None:
    tokenizer = real_tokenizer(name, "gpt2")
    complete_tokenizer(tokenizer)
    before = tokenizer.chat_template
    assert complete_tokenizer(tokenizer) == []
    assert tokenizer.chat_template == before


def test_rows_of_the_cases_folder_keep_every_example_and_its_bos_per_turn() -> None:
    template = shared("cases", "30-bos-per-turn", "llama2.jinja").read_text(encoding="utf-8")
    tokenizer = tokenizer_for("sentencepiece", template, "<s>", "</s>")
    complete_tokenizer(tokenizer)
    row = tokenize_examples(
        [example("Add 3 more.", "5", history=HI)], chat_format(tokenizer), 1000
    )[0]
    assert isinstance(row, TokenizedExample)
    assert row.input_ids.count(tokenizer.bos_token_id) == 2


# ---- templates that are proved to write contents as they are


@pytest.mark.parametrize(
    "template, proved",
    [
        (CHAT_TEMPLATE, True),
        ("{% for m in messages %}{{ m.role + ': ' + m.content }}{% endfor %}", True),
        (
            "{% set rest = messages[1:] %}{% for m in rest %}{{ m['content'] if loop.first else "
            "'' }}{% endfor %}",
            True,
        ),
        (
            "{% for m in messages %}{% set c = m['content'] %}{{ 'x' ~ c }}{% endfor %}{{ "
            "messages|length }}",
            True,
        ),
        (
            "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% endif %}{% "
            "endfor %}",
            True,
        ),
        ("{% for m in messages %}{{ m.content | trim }}{% endfor %}", False),
        ("{% for m in messages %}{{ m.content[:60] }}{% endfor %}", False),
        ("{% for m in messages %}{{ m.content.strip() }}{% endfor %}", False),
        ("{% for m in messages %}{% if m.content %}{{ m.content }}{% endif %}{% endfor %}", False),
        (
            "{% for m in messages %}{% if m.content == 'a' %}b{% endif %}{{ m.content }}{% endfor "
            "%}",
            False,
        ),
        ("{% for m in messages %}{{ m | tojson }}{% endfor %}", False),
        (
            "{% for m in messages %}{% for k, v in m.items() %}{{ v }}{% endfor %}{% endfor %}",
            False,
        ),
        ("{% for m in messages %}{{ m[key] }}{% endfor %}", False),
        ("{% set c = messages[0].content %}{% if c %}x{% endif %}{{ c }}", False),
        (
            "{% for m in messages %}{% if m == messages[-1] %}{{ m.content }}{% endif %}{% endfor "
            "%}",
            False,
        ),
        (
            "{% set t %}{% for m in messages %}{{ m.content }}{% endfor %}{% endset %}{{ t | trim "
            "}}",
            False,
        ),
        (
            "{% macro f(x) %}{{ x | trim }}{% endmacro %}{% for m in messages %}{{ f(m.content) "
            "}}{% endfor %}",
            False,
        ),
        ("{% set ns = namespace(c='') %}{% set ns.c = messages[0].content %}{{ ns.c }}", False),
        ("{{ messages | map(attribute='content') | join }}", False),
    ],
)
def test_only_a_template_that_writes_contents_as_they_are_is_proved(
    template: str, proved: bool
) -> None:
    assert writes_content_as_is(template) is proved


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=3, max_size=5), st.booleans())
def test_pieces_give_what_rendering_gives(texts: list[str], with_system: bool) -> None:
    tokenizer = byte_tokenizer()
    complete_tokenizer(tokenizer)
    pieces = chat_format(tokenizer)
    assert pieces.as_is
    prompt, completion, *others = texts
    roles = ["assistant" if i % 2 else "user" for i in range(len(others) // 2 * 2)]
    history = tuple(Turn(role, text) for role, text in zip(roles, others, strict=False))
    given_example = example(prompt, completion, history=(*(BRIEF if with_system else ()), *history))
    rendered = replace(pieces, as_is=False)
    assert pieces.prompts([given_example]) == rendered.prompts([given_example])
    if "".join(texts).split() and "\ue000" not in "".join(texts):
        assert pieces.written([given_example])[0] == replace_remarks(
            rendered.written([given_example])[0]
        )


def replace_remarks(found: Written | Unserved) -> Written | Unserved:
    return replace(found, remarks=()) if isinstance(found, Written) else found


# ---- what a template lacks


def completed(template: str, **settings: Any) -> tuple[ChatFormat, list[str]]:
    tokenizer = tokenizer_for("gpt2", template, "<s>", "</s>")
    notes = complete_tokenizer(tokenizer, ChatSettings(**settings), now=datetime(2026, 7, 26))
    return chat_format(tokenizer), [note for note in notes if "pad token" not in note]


def trained(chat: ChatFormat, **texts: Any) -> tuple[str, str]:
    written = chat.written([example(**texts)])[0]
    assert isinstance(written, Written), written
    return written.prompt, written.answer


THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)


def test_a_generation_prompt_that_no_finished_answer_follows_becomes_the_header_that_one_has() -> (
    None
):
    chat, notes = completed(THINKING)
    assert trained(chat, prompt="q?", completion="yes") == (
        "<|user|>q?</s><|assistant|>",
        "yes</s>",
    )
    assert (
        "the saved one's is '</s><|assistant|>', in place of '</s><|assistant|><think>\\n'"
        in notes[0]
    )


def test_reasoning_that_the_template_takes_away_is_remarked() -> None:
    written = completed(THINKING)[0].written([example(completion="<think>hm</think>yes")])[0]
    assert isinstance(written, Written)
    assert written.answer == "yes</s>"
    assert written.remarks == ("the chat template takes away the reasoning before the answer",)


def test_a_template_without_a_stop_token_is_saved_with_one_and_writes_it_in_later_turns() -> None:
    chat, notes = completed("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    prompt, answer = trained(chat, prompt="q?", completion="yes", history=HI)
    assert prompt == "user: Hi there\nassistant: Hello.</s>\nuser: q?\n"
    assert answer == "assistant: yes</s>"
    assert notes == [
        "the chat template writes no stop token after an answer: the saved one writes </s>"
    ]


def test_what_a_template_writes_before_each_answer_is_trained_and_not_read_as_the_answer() -> None:
    start = (
        "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}<|START|>{{ "
        "m.content }}<|STOP|>"
    )
    chat, _ = completed(start + "{% else %}{{ m.content }}{% endif %}</s>{% endfor %}")
    assert trained(chat) == ("<|user|>q?</s>", "<|assistant|><|START|>x<|STOP|></s>")
    assert chat.stop_token == "</s>"
    assert chat.read("<|assistant|><|START|>a b<|STOP|>") == "a b"


def test_a_template_that_moves_the_system_message_is_trained_on_the_prompt_that_is_served() -> None:
    last = "{% if loop.last and system is defined %}{{ system + ' ' }}{% endif %}"
    chat, _ = completed(
        "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set "
        "messages = messages[1:] %}"
        "{% endif %}{% for m in messages %}{% if m.role == 'user' %}[" + last + "{{ m.content }}]"
        "{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
    )
    assert trained(chat, history=BRIEF) == ("[Be brief. q?]", "x</s>")


def test_a_system_message_that_is_refused_goes_to_the_first_user_turn_with_a_remark() -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    chat, _ = completed(refusing + PLAIN)
    written = replace(chat, system="Be kind.").written([example()])[0]
    assert isinstance(written, Written)
    assert written.prompt == "Be kind.\n\nq?</s>"
    assert "takes no system message" in written.remarks[0]


def test_the_recipes_system_message_is_for_conversations_that_bring_none() -> None:
    chat, _ = completed("{% for m in messages %}{{ m.role + m.content + eos_token }}{% endfor %}")
    chat = replace(chat, system="Be kind.")
    assert trained(chat)[0] == "systemBe kind.</s>userq?</s>"
    assert trained(chat, history=BRIEF)[0] == "systemBe brief.</s>userq?</s>"


CLOCK = "{{ strftime_now('%d %b %Y') + ' ' }}"


def test_a_clock_is_stopped_at_the_day_of_preparation_and_stays_stopped() -> None:
    chat, notes = completed(CLOCK + PLAIN)
    assert trained(chat)[0] == "26 Jul 2026 q?</s>"
    assert "26 Jul 2026 is pinned" in notes[0]
    assert complete_tokenizer(chat.tokenizer) == []


def test_variables_of_the_recipe_are_pinned_and_hold_for_whoever_renders() -> None:
    thinks = (
        "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking "
        "%}<no>{% endif %}"
    )
    answer = "{% if m.role == 'assistant' %}<no>{% endif %}"
    finished = PLAIN.replace("{{ m", answer + "{{ m")
    chat, _ = completed(finished + thinks, variables={"enable_thinking": False})
    assert trained(chat) == ("q?</s><no>", "x</s>")
    messages = [{"role": "user", "content": "q?"}]
    assert (
        chat.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        == "q?</s><no>"
    )


@pytest.mark.parametrize(
    "value", [None, True, "a 'b' \"c\" \n {{ x }}", 3, 0.5, ["a", 1], {"k": [None, "é"]}]
)
def test_any_value_of_yaml_can_be_pinned(value: Any) -> None:
    chat, _ = completed("{{ v | tojson }}" + PLAIN, variables={"v": value})
    assert json.loads(trained(chat)[0].removesuffix("q?</s>")) == value


def test_a_variable_that_the_template_does_not_read_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="did you mean 'enable_thinking'"):
        completed("{{ enable_thinking }}" + PLAIN, variables={"enable_thinkin": False})


def test_a_template_that_ignores_the_users_text_is_refused() -> None:
    with pytest.raises(ModelError, match="does not write the user's text"):
        completed(
            "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{% endif "
            "%}</s>{% endfor %}"
        )


def test_a_template_that_cuts_texts_is_trained_as_it_serves_and_remarked() -> None:
    cut = "{{ (m.content if m.role == 'assistant' else m.content[:30]) + eos_token }}"
    chat, _ = completed("{% for m in messages %}" + cut + "{% endfor %}")
    written = chat.written([example(prompt="word " * 20)])[0]
    assert isinstance(written, Written)
    assert written.prompt == ("word " * 20)[:30] + "</s>"
    assert written.remarks == ("the chat template cuts or changes the text of the prompt",)


def test_a_template_that_rewrites_prompts_is_trained_as_it_serves_and_remarked() -> None:
    chat, _ = completed(
        PLAIN.replace("m.content", "(m.content if m.role == 'assistant' else m.content | upper)")
    )
    written = chat.written([example(prompt="is it good?", history=HI)])[0]
    assert isinstance(written, Written)
    assert written.prompt == "HI THERE</s>Hello.</s>IS IT GOOD?</s>"
    assert set(written.remarks) == {"the chat template cuts or changes the text of the prompt"}


def test_an_answer_that_the_template_cuts_is_refused() -> None:
    chat, _ = completed("{% for m in messages %}{{ m.content[:30] + eos_token }}{% endfor %}")
    assert isinstance(chat.written([example(completion="a long answer, " * 5)])[0], Unserved)


def test_a_template_of_several_chooses_by_the_tools_as_transformers_does() -> None:
    tokenizer = tokenizer_for("gpt2", None, "<s>", "</s>")
    tokenizer.chat_template = {"default": PLAIN, "tool_use": "{{ tools | tojson }}" + PLAIN}
    complete_tokenizer(tokenizer)
    chat = chat_format(tokenizer)
    assert trained(chat)[0] == "q?</s>"
    assert trained(chat, tools='[{"name": "f"}]')[0] == '[{"name": "f"}]q?</s>'


def test_a_template_for_conversations_with_tools_only_refuses_the_others() -> None:
    chat, _ = completed("{% for t in tools %}{{ t.function.name }} {% endfor %}" + PLAIN)
    assert trained(chat, tools=TOOLS) == ("stock q?</s>", "x</s>")
    assert isinstance(chat.written([example()])[0], Unserved)


# ---- other keys of a message

CALL = json.dumps(
    {
        "tool_calls": [
            {"type": "function", "function": {"name": "stock", "arguments": {"item": "lamp"}}}
        ]
    }
)
TOOLS = json.dumps(
    [{"type": "function", "function": {"name": "stock", "description": "Look up stock"}}]
)


def test_tool_calls_are_trained_through_a_template_that_writes_them() -> None:
    tokenizer = real_tokenizer("Qwen-Qwen2.5-7B-Instruct", "gpt2")
    complete_tokenizer(tokenizer)
    prompt, answer = trained(
        chat_format(tokenizer), completion="Let me look.", answer_keys=CALL, tools=TOOLS
    )
    assert "Look up stock" in prompt
    assert answer.startswith("Let me look.\n<tool_call>\n")
    assert '"lamp"' in answer


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"answer_keys": CALL}, "leaves out 'tool_calls' of turn 2"),
        ({"tools": TOOLS}, "takes no tools"),
        ({"prompt_keys": '{"name": "ann"}'}, "leaves out 'name' of turn 1"),
        ({"answer_keys": '{"reasoning_content": "hm"}'}, "leaves out 'reasoning_content'"),
    ],
)
def test_what_the_template_leaves_out_refuses_the_row(changes: dict[str, str], what: str) -> None:
    refused = completed(PLAIN)[0].written([example(**changes)])[0]
    assert isinstance(refused, Unserved)
    assert what in refused.detail


def test_a_turn_whose_role_the_template_passes_over_refuses_the_row() -> None:
    only_known = (
        "{% for m in messages %}{% if m.role != 'tool' %}{{ m.content + eos_token }}{% endif %}{% "
        "endfor %}"
    )
    refused = completed(only_known)[0].written([example(prompt="3", asked_by="tool", history=HI)])[
        0
    ]
    assert isinstance(refused, Unserved)
    assert "tool" in refused.detail


def test_plain_jinja_refuses_the_generation_tag_so_our_template_has_none() -> None:

    plain = jinja2.Environment()
    assert (
        plain.from_string(CHAT_TEMPLATE).render(messages=[{"role": "user", "content": "q?"}])
        == "q?"
    )
    with pytest.raises(jinja2.TemplateSyntaxError, match="unknown tag 'generation'"):
        plain.from_string("{% generation %}{% endgeneration %}")
