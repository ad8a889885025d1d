"""The licence of a base model, from its card."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tunesmith.models.licence import base_licence
from tunesmith.recipe import BUILT_IN_MODEL


def test_the_built_in_model_names_its_licence() -> None:
    assert base_licence(BUILT_IN_MODEL) == "apache-2.0"


@pytest.mark.parametrize(
    "card, licence",
    [
        ("---\nlicense: MIT\n---\n# A model\n", "mit"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", ""),
        ("---\ntags: []\n---\n", ""),
        ("---\nlicense: [\n---\n", ""),
        ("no front matter", ""),
    ],
)
def test_a_folders_card_names_the_licence(
    tiny_model_dir: Path, tmp_path: Path, card: str, licence: str
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny_model_dir, folder)
    assert base_licence(str(folder)) == ""
    (folder / "README.md").write_text(card)
    assert base_licence(str(folder)) == licence
