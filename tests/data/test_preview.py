"""Preview: which tokens are shown as trained, what would be refused or shortened, and three ways to
show it.
"""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from support import byte_tokenizer, shared

from tunesmith.chat.format import ChatFormat, chat_format, complete_tokenizer
from tunesmith.data.preview import Preview, ShownRow, Token, as_json, preview, spread
from tunesmith.data.preview_page import PreviewScreen, as_html
from tunesmith.models.load import load_tokenizer
from tunesmith.recipe import DataConfig


@pytest.fixture(scope="module")
def chat() -> ChatFormat:
    tokenizer = byte_tokenizer()
    complete_tokenizer(tokenizer)
    return chat_format(tokenizer)


def preview_of(
    rows: list[dict[str, Any]], chat: ChatFormat, folder: Path, max_length: int = 100, **data: Any
) -> Preview:
    source = folder / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return preview(DataConfig(source=str(source), **data), chat, max_length)


def printed(found: Preview, **options: Any) -> str:
    console = Console(file=io.StringIO(), soft_wrap=True, **options)
    console.print(PreviewScreen(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return str(text)


AB = {"prompt": "ab", "completion": "c"}


def test_every_token_is_shown_with_its_number_and_whether_it_is_trained(
    chat: ChatFormat, tmp_path: Path
) -> None:
    [row] = preview_of([AB], chat, tmp_path).rows
    token = chat.tokenizer.convert_tokens_to_ids
    assert row.tokens == (
        Token(0, "<s>", trained=False, special=True),
        Token(token("a"), "a", trained=False, special=False),
        Token(token("b"), "b", trained=False, special=False),
        Token(token("Ġ"), " ", trained=True, special=False),
        Token(token("c"), "c", trained=True, special=False),
        Token(1, "</s>", trained=True, special=True),
    )
    assert (row.id, row.num_tokens, row.num_trained, row.too_long_by, row.problem) == (
        "1",
        6,
        3,
        0,
        "",
    )
    assert row.source == f"{tmp_path / 'rows.jsonl'}:1"


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@settings(deadline=None, max_examples=30)
@given(prompt=TEXTS, completion=TEXTS)
def test_the_tokens_texts_together_are_the_rendered_text(
    chat: ChatFormat, tmp_path_factory: pytest.TempPathFactory, prompt: str, completion: str
) -> None:
    rows = [{"prompt": prompt, "completion": completion}]
    [row] = preview_of(rows, chat, tmp_path_factory.mktemp("rows")).rows
    if row.tokens:
        assert "".join(token.text for token in row.tokens) == f"<s>{prompt} {completion}</s>"


def test_words_keep_their_space_where_a_tokenizer_counts_it_to_no_token(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(shared("models", "stories260K")))
    complete_tokenizer(tokenizer)
    rows = [{"prompt": "One day, a cat’s friend\nsat.", "completion": "on a mat"}]
    [row] = preview_of(rows, chat_format(tokenizer), tmp_path).rows
    assert (
        "".join(token.text for token in row.tokens)
        == "<s>One day, a cat’s friend\nsat. on a mat</s>"
    )
    assert (
        len(row.tokens)
        == row.num_tokens
        == len(tokenizer("One day, a cat’s friend\nsat. on a mat</s>").input_ids)
    )


def test_a_row_that_is_too_long_says_by_how_much(chat: ChatFormat, tmp_path: Path) -> None:
    found = preview_of(
        [AB, {"prompt": "ab" * 10, "completion": "c"}], chat, tmp_path, max_length=20
    )
    short, long = found.rows
    assert (short.too_long_by, long.too_long_by, long.num_tokens) == (0, 4, 24)
    assert long.problem == "too long: 24 tokens, max_length is 20"
    assert (found.num_too_long, found.most_tokens, found.median_tokens) == (1, 24, 15)
    assert "1 too long, by up to 4 tokens" in found.summary()
    assert "too long by 4 tokens (max_length is 20): rejected" in printed(found)


def test_a_field_marked_fit_is_shown_shortened(chat: ChatFormat, tmp_path: Path) -> None:
    rows = [{"text": "aa bb cc dd ee ff gg hh", "label": "x"}]
    [row] = preview_of(
        rows, chat, tmp_path, max_length=16, template="{{ text | fit }}: ||| {{ label }}"
    ).rows
    assert "".join(token.text for token in row.tokens) == "<s>aa bb cc dd: x</s>"
    assert (row.num_tokens, row.too_long_by, row.problem) == (16, 12, "")
    assert row.note == "text shortened by 12 characters"


@pytest.mark.parametrize(
    "row, problem",
    [
        ({"prompt": "a", "completion": " "}, "the completion is empty"),
        ({"prompt": "a", "completion": None}, "the completion is empty"),
        ({"prompt": None, "completion": "b"}, "prompt has no value"),
        (
            {"prompt": "a </s> b", "completion": "c"},
            "control token: the text contains the special token '</s>'",
        ),
    ],
)
def test_a_row_that_preparation_would_refuse_is_shown_with_the_reason(
    chat: ChatFormat, tmp_path: Path, row: dict[str, Any], problem: str
) -> None:
    shown = preview_of([row], chat, tmp_path).rows[0]
    assert shown.problem.endswith(problem)
    assert f"not used: {shown.problem}" in printed(preview_of([row], chat, tmp_path))


def test_rows_without_an_example_are_counted_apart(chat: ChatFormat, tmp_path: Path) -> None:
    found = preview_of([AB, {"prompt": "a", "completion": ""}], chat, tmp_path)
    assert (found.num_examples, found.num_without) == (1, 1)
    assert "1 rows give no example" in found.summary()


def test_rows_come_from_all_over_the_table(chat: ChatFormat, tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "completion": "c"} for i in range(300)]
    assert [row.id for row in preview_of(rows, chat, tmp_path).rows] == ["51", "151", "251"]


@given(n=st.integers(0, 2000), k=st.integers(1, 30))
def test_spread_is_even(n: int, k: int) -> None:
    found = spread(iter(range(n)), k)
    assert len(found) == min(n, k)
    assert found == sorted(set(found))
    gaps = [b - a for a, b in zip([0, *found], [*found, n - 1], strict=True)] if found else []
    assert all(gap <= 2 * n / len(found) + 1 for gap in gaps)


# ---- the screen


def test_without_colour_trained_tokens_stand_in_brackets(chat: ChatFormat, tmp_path: Path) -> None:
    found = preview_of([AB], chat, tmp_path)
    assert "\n<s>ab[ ][c][</s>]\n" in printed(found)


def test_no_color_brackets_trained_tokens_on_a_terminal_too(
    chat: ChatFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "ab[ ][c][</s>]" in printed(preview_of([AB], chat, tmp_path), force_terminal=True)


def test_in_colour_trained_tokens_are_green_and_masked_ones_dim(
    chat: ChatFormat, tmp_path: Path
) -> None:
    text = printed(preview_of([AB], chat, tmp_path), force_terminal=True, color_system="standard")
    assert "\x1b[2;7m<s>\x1b[0m" in text  # dim, reversed
    assert "\x1b[2;4ma\x1b[0m\x1b[2mb\x1b[0m" in text  # dim, underlined in turn
    assert "\x1b[32mc\x1b[0m" in text  # green


def shown_text(text: str) -> str:
    token = Token(5, text, trained=False, special=False)
    return printed(
        Preview((ShownRow("1", "a.csv:2", "t", (token,), 1),), 10, 1, 1, 1, 0, 0)
    ).splitlines()[1]


def test_control_characters_cannot_reach_the_terminal() -> None:
    assert shown_text("\x1b[31m\tx") == "\\x1b[31m\\tx"
    assert shown_text("\n") == "↵"
    assert shown_text("") == "·"  # a further byte of a character


# ---- the page and JSON


class Tokens(HTMLParser):
    """The text of each element with the class token, and every tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.tokens: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        kind = dict(attrs).get("class") or ""
        if tag == "span" and "title" in dict(attrs):
            self.tokens.append((kind, ""))

    def handle_data(self, data: str) -> None:
        if self.tokens:
            kind, text = self.tokens[-1]
            self.tokens[-1] = (kind, text + data)


def test_the_page_marks_trained_tokens_and_escapes_the_rows(
    chat: ChatFormat, tmp_path: Path
) -> None:
    page = as_html(preview_of([{"prompt": "<b>&", "completion": "c"}], chat, tmp_path))
    found = Tokens(page)
    assert [(kind, text.strip() or " ") for kind, text in found.tokens] == [
        ("token special", "<s>"),
        *(("token", char) for char in "<b>&"),
        ("token trained", " "),
        ("token trained", "c"),
        ("token trained special", "</s>"),
    ]
    assert "b" not in found.tags


def test_the_page_needs_nothing_beside_it_and_has_light_and_dark_colours(
    chat: ChatFormat, tmp_path: Path
) -> None:
    page = as_html(preview_of([AB], chat, tmp_path))
    assert "prefers-color-scheme: dark" in page
    assert not {"script", "link", "img"} & Tokens(page).tags
    assert "http" not in page


def test_json_holds_every_token(chat: ChatFormat, tmp_path: Path) -> None:
    [row] = json.loads(json.dumps(as_json(preview_of([AB], chat, tmp_path))))
    assert row["tokens"][0] == {"id": 0, "text": "<s>", "trained": False, "special": True}
    assert [token["trained"] for token in row["tokens"]] == [False] * 3 + [True] * 3
    assert (row["num_tokens"], row["num_trained"], row["max_length"], row["too_long_by"]) == (
        6,
        3,
        100,
        0,
    )
