from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import tunesmith.report
from tunesmith.records import Question
from tunesmith.report.content import Report, verdict_class
from tunesmith.report.html import page_script, page_style, render_html
from tunesmith.report.plots import plots_of

ATTACK = "</style></pre><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes and text by tag; unbalanced tags are an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in tags]


@pytest.fixture(scope="module")
def html(report: Report) -> str:
    return render_html(report, plots_of(report))


def test_no_text_of_a_report_becomes_markup(report: Report) -> None:
    bad = _poisoned(report)
    html = render_html(bad, plots_of(bad))
    page = Page(html)
    assert page.of("img", "link", "iframe", "object") == []
    assert page.of("script") == [{"id": "packed", "type": "text/plain"}, {}]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert len(page.of("style")) == 1
    assert html.count("alert(1)") > 60
    assert "{{ 7 * 7 }}" in html


def test_the_page_asks_for_nothing_from_outside(html: str) -> None:
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", _without_libraries(html))
    page = Page(html)
    assert not [a for _, a in page.tags if "src" in a or a.get("href", "#")[:1] != "#"]  # type: ignore[index]


def test_the_verdict_is_the_one_first_heading(html: str, report: Report) -> None:
    page = Page(html)
    headings = [(tag, text) for tag, text in page.texts if tag in ("h1", "h2")]
    assert headings[0] == ("h1", report.heading)
    assert [text for tag, text in headings if tag == "h2"] == [
        "What to do next",
        "Gates",
        "The test rows",
        "By class",
        "How the systems compare",
        "What was gained",
        "Answers that could not be read",
        "What was lost (forgetting)",
        "Without near-twins of training rows",
        "By slice",
        "When may it answer?",
        "Which answer is preferred",
        "Training",
        "Where every raw row went",
        "How to use it",
        "How to repeat it",
        "Notes and warnings",
        "What the words mean",
    ]
    assert len(page.of("h1")) == 1


def _without_libraries(html: str) -> str:
    """The libraries name SVG's namespace and the addresses of their licences."""
    return html.replace(page_script(), "").replace(page_style(), "")


def test_our_own_script_and_style_ask_for_nothing_from_outside() -> None:
    folder = Path(tunesmith.report.__file__).parent
    for name in ("browser.js", "style.css"):
        own = (folder / name).read_text(encoding="utf-8")
        assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttpRequest|innerHTML", own), name


def test_every_table_has_a_caption_and_scoped_headers(html: str) -> None:
    page = Page(html)
    assert len(page.of("caption")) == len(page.of("table")) > 5
    assert {attributes.get("scope") for attributes in page.of("th")} == {"row", "col"}


def test_every_plot_says_in_words_what_it_shows(html: str, report: Report) -> None:
    page = Page(html)
    described = [a["aria-label"] for a in page.of("div") if a.get("role") == "img"]
    assert described == [plot.alt for plot in plots_of(report)]
    assert len(page.of("svg")) == len(described) == 10


def test_ids_are_unique_and_references_resolve(html: str) -> None:
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"|aria-labelledby=\"([^\"]+)\"", html)
    assert {name for names in wanted for name in names if name} <= set(ids)


def test_the_browser_is_told_to_run_our_script_alone(html: str) -> None:
    policy = next(a["content"] for a in Page(html).of("meta") if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src '{_sha256(page_script())}'" in policy
    assert f"style-src-elem '{_sha256(page_style())}'" in policy
    assert f"<script>{page_script()}</script>" in html
    assert f"<style>{page_style()}</style>" in html
    assert "unsafe" not in policy.replace("style-src-attr 'unsafe-inline'", "")


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_licences_of_the_libraries_are_in_the_page(html: str) -> None:
    assert "Copyright (c) 2015-2026 Oli Folkerd" in html
    assert "Copyright (c) 2009-2015, Kevin Decker" in html


def test_a_page_is_small(html: str) -> None:
    assert len(html.encode()) < 1_000_000


def test_plots_take_the_colours_of_the_page(html: str) -> None:
    svgs = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert "var(--accent)" in svgs
    assert not re.search(r"#[0-9a-f]{6}\b", svgs)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_a_contrast_of_four_and_a_half_to_one(theme: str) -> None:
    css = (Path(tunesmith.report.__file__).parent / "style.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)[:2]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", light if theme == "light" else dark))
    for text, background in [
        *((text, "paper") for text in ("ink", "muted", "accent", "good", "bad", "open")),
        *(("ink", panel) for panel in ("panel", "accent-soft", "open-soft")),
        ("muted", "panel"),
    ]:
        assert _contrast(colours[text], colours[background]) >= 4.5, (text, background)


def test_a_report_with_nothing_but_a_verdict_still_renders() -> None:
    html = render_html(Report("r", "cannot tell", "Cannot tell.", "accuracy", (), (), {}), ())
    assert "<h1>Cannot tell.</h1>" in html
    assert "Forgetting was not measured" in html


def test_a_second_use_of_the_test_split_is_said(report: Report) -> None:
    assert "has been opened 3 times" in render_html(replace(report, test_uses=3), ())
    assert "was opened once" in render_html(report, ())


def test_an_empty_answer_is_shown_as_empty(report: Report) -> None:
    *others, linear, tuned = report.evaluations
    mute = replace(linear, predictions=[replace(p, text="") for p in linear.predictions])
    html = render_html(replace(report, evaluations=[*others, mute, tuned]), ())
    assert "<span>(empty)</span>" in html


def test_the_colour_follows_the_verdict() -> None:
    kinds = ["better", "not better", "not_better", "cannot tell"]
    assert [verdict_class(kind) for kind in kinds] == ["good", "bad", "bad", "open"]


def _poisoned(value: Any, key: str = "") -> Any:
    """The value with ATTACK appended to every text and key, except words that the code reads."""
    if isinstance(value, str):
        fixed = key in ("system", "split", "a", "b")
        return value if fixed else value + ATTACK
    if isinstance(value, Question):
        return replace(
            value,
            title=value.title + ATTACK,
            sentence=value.sentence + ATTACK,
            against=value.against + ATTACK,
        )
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: _poisoned(getattr(value, f.name), f.name) for f in fields(value)}
        )
    if isinstance(value, Mapping):
        return {_poisoned_key(inner): _poisoned(v, str(inner)) for inner, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_poisoned(inner, key) for inner in value)
    return value


def _poisoned_key(key: str) -> str:
    words = {
        "rows", "raw", "kept", "splits", "shortened", "step", "loss", "validation_loss",
        "per_class", "confusion", "labels", "counts", "label", "precision", "recall", "f1", "n",
        "data", "model", "warnings", "given_valid", "examples", "tokens",
        "trained_tokens", "conflicting_rows", "near_duplicate_clusters",
    }  # fmt: skip
    return key if key in words else key + ATTACK


def _contrast(first: str, second: str) -> float:
    """WCAG 2.2: (lighter + 0.05) / (darker + 0.05) of the relative luminances."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
