"""YAML that people write is read; a few lines that stand for billions of values are not."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.templates.families import read_family
from tunesmith.data.templates.promptsource import loads
from tunesmith.errors import RecipeError, TemplateError
from tunesmith.recipe import load_recipe
from tunesmith.yaml_files import MAX_CHARACTERS, MAX_DEPTH, load_yaml

BILLION = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
MERGED = "a0: &a0 {k0: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}], k{i}: 1}}\n" for i in range(1, 10)
)
REFUSED = {
    "aliases of aliases": (BILLION, "more than 100,000 values, written out"),
    "merges of merges": (MERGED, "more than 100,000 values, written out"),
    "an alias in itself": ("a: &a [*a]", "an alias stands inside what it names"),
    "a mapping in itself": ("a: &a {b: *a}", "an alias stands inside what it names"),
    "deep lists": ("[" * 9000, "nested deeper than 50 levels"),
    "deep mappings": ("{a: " * 9000, "nested deeper than 50 levels"),
    "depth through aliases": (
        "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60)),
        "nested deeper than 50 levels",
    ),
    "many values": ("[" + "1," * 100_001 + "]", "more than 100,000 values"),
    "a long file": ("#" * (MAX_CHARACTERS + 1), "1,000,001 characters, more than 1,000,000"),
    "a key twice": (
        "train:\n  seed: 1\n  optim: muon\n  seed: 2\n",
        "the key 'seed' is given twice, in lines 2 and 4",
    ),
    "one key spelt twice": ("yes: 1\ntrue: 2", "the key True is given twice, in lines 1 and 2"),
    "a list as a key": ("? [a]\n: b", "a list or mapping is used as a key"),
    "no date": ("a: 2024-13-45", "a value is not what it looks like: month must be in 1..12"),
    "a tag's word": ("a: !!timestamp x", "a value is not what it looks like"),
    "a number of 5,000 digits": ("a: " + "9" * 5000, "a value is not what it looks like"),
    "two documents": ("a: 1\n---\nb: 2", "expected a single document"),
    "a python object": ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_document_that_is_refused_says_why_in_one_line(name: str) -> None:
    text, words = REFUSED[name]
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is compared
        load_yaml(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_reader_of_yaml_has_these_bounds(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(BILLION)
    with pytest.raises(RecipeError, match=r"bomb\.yaml: not readable as YAML: more than 100,000"):
        load_recipe(path)
    with pytest.raises(TemplateError, match=r"bomb\.yaml: not readable as YAML: more than 100,000"):
        read_family(path)
    with pytest.raises(TemplateError, match="here: not readable as YAML: more than 100,000"):
        loads(BILLION, "here")


def test_aliases_and_merges_that_people_write_are_read() -> None:
    text = "base: &b {lr: 1, seed: 2}\none: {<<: *b, seed: 3}\ntwo: *b\nl: [&x a, *x]\n"
    assert load_yaml(text) == yaml.safe_load(text)
    assert load_yaml("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)) is not None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@given(VALUES)
@settings(deadline=None, max_examples=100)
def test_what_is_read_is_what_pyyaml_reads(value: object) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    assert load_yaml(text) == yaml.safe_load(text)


@given(st.text(alphabet="ab01:-?[]{},&*!|>'\"%@`#<=~.\n \t\x00é", max_size=40))
@settings(deadline=None, max_examples=500)
def test_any_text_is_read_or_is_one_error(text: str) -> None:
    with suppress(ValueError):
        load_yaml(text)
