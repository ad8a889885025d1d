"""The pages of docs/: what is generated is what the code says, all are on the site, links lead
somewhere, and tables of numbers are computed again.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from docs_blocks import ALL, PAGES, ROOT
from tool_modules import tool_module

import tunesmith
from tunesmith import cli, errors
from tunesmith.evaluate.power import smallest_accuracy_gain
from tunesmith.init.peers import translate
from tunesmith.recipe import build_recipe
from tunesmith.train.optim import OPTIMIZERS

DOCS = ROOT / "docs"
LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_the_commands_are_what_the_tool_generates() -> None:
    made = tool_module("command_reference")
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    found = page.partition(made.START)[2].partition(made.END)[0].lstrip("\n")
    assert found == made.reference(), "python tools/command_reference.py docs/commands.md"


def test_every_command_has_an_example() -> None:
    sections = tool_module("command_reference").reference().split("## tunesmith ")[1:]
    assert len(sections) > 20
    assert [text.split("\n")[0] for text in sections if "```sh\ntunesmith " not in text] == []


def test_a_help_text_is_words_and_examples() -> None:
    told = tool_module("command_reference").told
    assert told("Do\nit.\n\nExample: tunesmith a, or tunesmith b\n--c") == (
        ["Do it.", ""],
        ["tunesmith a", "tunesmith b --c"],
    )


def test_every_page_is_on_the_site_once() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = sorted(leaves(config["nav"]))
    assert listed == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def leaves(nav: list[object] | str) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    inner = [value for one in nav if isinstance(one, dict) for value in one.values()]
    return [page for value in inner for page in leaves(value)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in LINK.findall(text):
        if "://" not in link:
            file, _, heading = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), link
            if heading:
                assert heading in headings(target), link


def headings(page: Path) -> set[str]:
    """The names that GitHub and MkDocs give to a page's headings."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in found}


def test_files_outside_docs_come_along_on_the_site() -> None:
    site = tool_module("docs_site")
    text = "[a](../examples/trec.yaml) [b](recipe.md) [c](#x) [d](https://x.org/y)"
    assert site.rewritten("scaling.md", text) == text.replace(
        "../examples/trec.yaml", "source/examples/trec.yaml"
    )
    assert site.outside("guides/classify.md", "../recipe.md") is None
    assert site.outside("guides/classify.md", "../../Makefile") == "Makefile"
    assert "examples/launch/slurm.sh" in site.linked()


def test_the_site_is_built_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    mkdocs = shutil.which("mkdocs", path=str(Path(sys.executable).parent))
    if mkdocs is None:
        pytest.skip("mkdocs-material (the extra docs) is not installed; `make docs` has it")
    subprocess.run(
        [mkdocs, "build", "--strict", "--quiet", "--site-dir", str(tmp_path)], cwd=ROOT, check=True
    )
    assert tool_module("docs_site").loaded_from_elsewhere(tmp_path) == []


def test_what_a_page_loads_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="https://x.org"><script src=own.js></script>')
    (tmp_path / "b.html").write_text(
        '<script src="https://x.org/a.js"></script><link rel="stylesheet" href="//x.org/b.css">'
    )
    found = tool_module("docs_site").loaded_from_elsewhere(tmp_path)
    assert found == ["b.html: https://x.org/a.js", "b.html: //x.org/b.css"]


def test_every_public_name_is_in_the_reference_of_python_and_every_one_there_exists() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: (tunesmith[\w.]*)$", page, re.M)
    assert {f"tunesmith.{name}" for name in tunesmith.__all__} <= set(named)
    for name in named:
        assert pkgutil.resolve_name(name).__doc__, name
    members = re.findall(r"members: \[(.+)\]", page)[0].split(", ")
    kinds = [one for one in vars(errors).values() if inspect.isclass(one)]
    own = [one.__name__ for one in kinds if one.__module__ == errors.__name__]
    assert sorted(members) == sorted(own)


def test_the_gains_that_test_rows_show_are_those_of_plan() -> None:
    text = (DOCS / "guides" / "how_many_rows.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d,]+) \| ([\d.]+) points \| ([\d.]+) \| ([\d.]+) \|$", text, re.M)
    assert len(rows) == 7
    for n, *shown in rows:
        gains = [smallest_accuracy_gain(int(n.replace(",", "")), d) for d in (0.1, 0.3, 0.5)]
        assert [f"{100 * gain:.1f}" for gain in gains] == shown


def test_the_bytes_of_a_parameter_are_those_that_a_run_counts() -> None:
    text = (DOCS / "guides" / "small_gpu.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (\d+) \| (\d+) GB \|$", text, re.M)
    wanted = [
        (name, dtype, str(size), str(size))
        for name, kind in OPTIMIZERS.items()
        for dtype, size in kind.state_bytes.items()
    ]
    assert rows == wanted


def test_the_files_of_other_tools_are_the_recipe_beside_them(tmp_path: Path) -> None:
    texts = [b.text for b in ALL if b.page.endswith("from_other_tools.md") and b.language == "yaml"]
    *peers, ours = texts
    assert len(peers) == 2
    wanted = build_recipe(yaml.safe_load(ours))[0]
    for text in peers:
        file = tmp_path / "peer.yaml"
        file.write_text(text, encoding="utf-8")
        found = build_recipe(translate(file).values)[0]
        assert (found.model, found.output_dir) == (wanted.model, wanted.output_dir)
        assert found.data.source == wanted.data.source
        assert found.train == wanted.train


def test_the_tutorial_shows_what_init_proposes_for_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "src" / "tunesmith" / "assets" / "reviews.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    cli.app(["init", "reviews.csv", "--yes"], standalone_mode=False)
    seen = "".join(capsys.readouterr())
    [shown] = [b.text for b in ALL if b.page == "docs/tutorial.md" and b.language == "yaml"]
    assert yaml.safe_load(Path("reviews.yaml").read_text(encoding="utf-8")) == yaml.safe_load(shown)
    page = " ".join((DOCS / "tutorial.md").read_text(encoding="utf-8").split())
    assert "here 78 rows" in page
    assert "18.6 to 31.4 points" in page
    assert "78 test rows" in seen
    assert "31.4 points" in seen
    assert "18.6 points" in seen
