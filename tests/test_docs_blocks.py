"""Every block of README.md and docs/: recipes are valid, commands parse and run, Python runs.

A page's commands run in order in a copy of one small workspace, with the rows that the pages speak
of and a run on them, if they are cheap and all files that they name are there. All others are
parsed, with their options and overrides. `recipe.yaml` is the page's last recipe above a command,
with the built-in model, if it names rows that are there.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from docs_blocks import ALL, ROOT, Block, blocks_of, commands, of_tunesmith

from tunesmith import cli
from tunesmith.data.templates.environment import used_columns
from tunesmith.errors import RecipeError
from tunesmith.init.peers import translate
from tunesmith.recipe import Recipe, build_recipe

ELSEWHERE = {"docs/walks.md"}
"""Typed again by tools/walks.py, and checked by tests/test_walks.py."""
PAGES = sorted({block.page for block in ALL if block.is_shell} - ELSEWHERE)
CHEAP = {"init", "preview", "plan", "predict", "runs", "report", "score", "export"}
CHEAP |= {"templates list", "templates show", "templates preview"}
FILE = re.compile(r"[\w./-]+\.(csv|jsonl?|ya?ml|xlsx|parquet|txt)|\.?/?runs/\w+")
GIVEN: dict[str, Any] = {"answers": [{"gold": "yes", "a": "yes", "b": "no"}] * 20}
"""What the Python of a page takes for granted."""


def of(*languages: str) -> list[Any]:
    found = [block for block in ALL if block.language in languages and not block.reason]
    return [pytest.param(block, id=str(block)) for block in found]


@pytest.fixture(scope="session")
def readme_names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the README's Python leaves behind: a run of the built-in model among it."""
    folder = tmp_path_factory.mktemp("docs")
    write_files(folder)
    [block] = [block for block in ALL if block.page == "README.md" and block.language == "python"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        names = {**GIVEN, "folder": folder}
        exec(compile(block.text, str(block), "exec"), names)  # the page's own code
    return names


@pytest.fixture
def workspace(
    readme_names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Its files, and its run as runs/reviews, in a working directory of a test's own."""
    for path in readme_names["folder"].iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "reviews").symlink_to(readme_names["folder"] / "runs" / "table")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_files(folder: Path) -> None:
    """Tables with the columns that the pages name."""
    reviews = [
        {"review": f"{word} thing number {i}", "sentiment": label, "product": f"p{i}"}
        for i in range(40)
        for word, label in [("good", "positive") if i % 2 else ("bad", "negative")]
    ]
    write_csv(folder / "reviews.csv", reviews)
    write_csv(folder / "new.csv", [{"review": "a good thing"}, {"review": "bad"}])
    said = "Anna: Where is parcel {}? Ben: It went out on day {}, and should be with you soon."
    told = "Anna asks for parcel {}, sent on day {}."
    notes = [
        {"dialogue": said.format(i, i + 7), "summary": told.format(i, i + 7)} for i in range(60)
    ]
    write_jsonl(folder / "dialogues.jsonl", notes)
    orders = [
        {"request": f"{i} boxes to Rome", "order": {"items": i, "city": "Rome"}} for i in range(60)
    ]
    write_jsonl(folder / "orders.jsonl", orders)
    write_jsonl(folder / "chats.jsonl", [{"messages": chat(i)} for i in range(20)])
    write_csv(folder / "articles.csv", [articles(i) for i in range(60)])
    write_jsonl(folder / "passages.jsonl", [passages(i) for i in range(60)])
    sets = [{"gold": ["a", "b"], "a": ["a"], "b": ["a", "b"] if i % 5 else []} for i in range(30)]
    write_jsonl(folder / "topics_out.jsonl", sets)
    for name in ("alone", "together"):
        answered = [{**row, "answer": row["sentiment"]} for row in reviews]
        write_csv(folder / f"{name}.csv", answered)
    outputs = [{"gold": "yes", "a": "no" if i % 3 else "yes", "b": "yes"} for i in range(30)]
    write_csv(folder / "out.csv", outputs)
    (folder / "recipe.yaml").write_text(
        "data: {source: reviews.csv, task: classify, columns: {text: review, label: sentiment}}\n"
        "output_dir: runs/from_recipe\n",
        encoding="utf-8",
    )


def chat(number: int) -> list[dict[str, str]]:
    asked = {"role": "user", "content": f"What is {number} and 1?"}
    return [asked, {"role": "assistant", "content": str(number + 1)}]


def articles(number: int) -> dict[str, str]:
    text, topics = [
        ("The team sold shares", "sport;trade"),
        ("The match ended late", "sport"),
        ("Prices rose", "trade"),
        ("It rained", "none"),
    ][number % 4]
    return {"article": f"{text} on day {number}", "topics": topics}


def passages(number: int) -> dict[str, Any]:
    mill, is_year = divmod(number, 2)
    return {
        "passage": f"Mill {mill} was built in {1800 + mill} by the river Ouse.",
        "question": "When was it built?" if is_year else "Which river is it by?",
        "answer": [str(1800 + mill)] if is_year else ["Ouse", "the river Ouse"],
        "answerable": "yes",
    }


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# ---- how blocks are found


def test_a_block_has_its_line_language_and_reason() -> None:
    [first, second] = blocks_of("p", "a\n```sh\nx\n```\n<!-- not run: why -->\n```\ny\n```\n")
    assert (first.line, first.language, first.text, first.reason) == (2, "sh", "x\n", "")
    assert (second.line, second.language, second.text, second.reason) == (6, "", "y\n", "why")


def test_a_block_that_is_never_closed_is_an_error() -> None:
    with pytest.raises(ValueError, match="p:2"):
        list(blocks_of("p", "a\n```sh\nx\n"))


def test_commands_are_what_is_typed() -> None:
    text = "$ A=1 tunesmith run x.yaml  # why\nseen\n$ .venv/bin/tunesmith runs\n"
    found = commands(Block("p", 1, "console", text, ""))
    assert found == [["tunesmith", "run", "x.yaml"], ["tunesmith", "runs"]]
    started = ["torchrun", "--nproc-per-node", "2", "-m", "tunesmith", "run", "x.yaml"]
    assert of_tunesmith(started) == ["run", "x.yaml"]


@pytest.mark.parametrize(
    "line, error",
    [
        ("tunesmith rn recipe.yaml", AssertionError),
        ("tunesmith run recipe.yaml --epochs 3", AssertionError),
        ("tunesmith run recipe.yaml train.epoch=3", RecipeError),
        ("tunesmith templates show", AssertionError),
        ("make no-such-target", AssertionError),
        ("python tools/no_such_tool.py", AssertionError),
        ("pip install 'tunesmith[nothing]'", AssertionError),
    ],
)
def test_a_command_that_would_fail_is_found(line: str, error: type[Exception]) -> None:
    block = Block("p", 1, "sh", line, "")
    [words] = commands(block)
    with pytest.raises(error):
        check(words, block)


def test_few_blocks_are_marked_as_not_run() -> None:
    marked = [str(block) for block in ALL if block.reason]
    assert len(marked) <= 4, marked


def test_every_language_has_a_check() -> None:
    known = {"", "sh", "bash", "console", "yaml", "python", "json", "toml", "jinja", "text"}
    assert {block.language for block in ALL} <= known


# ---- what is in them


@pytest.mark.parametrize("block", of("yaml"))
def test_a_yaml_block_is_a_recipe_a_family_or_another_tools_file(
    block: Block, tmp_path: Path
) -> None:
    values = yaml.safe_load(block.text)
    file = tmp_path / "block.yaml"
    file.write_text(block.text, encoding="utf-8")
    if "family" in values:
        cli.app(["templates", "show", str(file)], standalone_mode=False)
    elif values.keys() <= Recipe.model_fields.keys():
        assert build_recipe(values)[1] == []  # a note would say that a key has another name
    else:
        build_recipe(translate(file).values)


@pytest.mark.parametrize("block", of("json", "toml", "jinja"))
def test_a_block_is_well_formed(block: Block) -> None:
    if block.language == "json":
        assert [json.loads(line) for line in block.text.splitlines()]
    elif block.language == "toml":
        assert tomllib.loads(block.text)
    else:
        assert used_columns(block.text)


def test_the_python_of_the_readme_runs(readme_names: dict[str, Any]) -> None:
    assert readme_names["run"].comparison["n"] > 0
    assert len(readme_names["run"].predictions) == readme_names["run"].comparison["n"]


@pytest.mark.parametrize(
    "block", [case for case in of("python") if not case.id.startswith("README.md")]
)
def test_python_runs(block: Block, workspace: Path) -> None:
    exec(compile(block.text, str(block), "exec"), dict(GIVEN))  # the pages' own code


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_types_parses_and_runs(
    page: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in ALL:
        if block.page == page and block.is_shell and not block.reason:
            for words in commands(block):
                check(words, block)
        elif block.page == page and block.language == "yaml":
            keep_recipe(block)


def keep_recipe(block: Block) -> None:
    values = yaml.safe_load(block.text)
    if "output_dir" in values and "data" in values:
        given = values["data"]["source"]
        sources = [one["source"] for one in given] if isinstance(given, list) else [given]
        if all(Path(source).is_file() for source in sources):
            text = yaml.safe_dump({**values, "model": "built-in"})
            Path("recipe.yaml").write_text(text, encoding="utf-8")


def check(words: list[str], block: Block) -> None:
    arguments = of_tunesmith(words)
    if arguments is not None:
        check_tunesmith(arguments, block)
    elif words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert words[1] in targets, block
    elif words[0] == "python" and words[1].endswith(".py"):
        assert any((ROOT / folder / words[1]).is_file() for folder in ("", "benchmarks")), block
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        named = re.findall(r"\[([\w,-]+)\]", " ".join(words))
        for extra in ",".join(named).split(",") if named else []:
            assert extra in extras["optional-dependencies"], block


def check_tunesmith(arguments: list[str], block: Block) -> None:
    """Parse a command; run it where that is cheap and its files are there."""
    name, context = parsed(arguments, block)
    overrides = context.params.get("overrides") or ()
    build_recipe({}, [str(text) for text in overrides])
    written = {str(context.params.get(key)) for key in ("output", "recipe_file", "folder")}
    files = [text for text in arguments if FILE.fullmatch(text) and text not in written]
    runs = name in CHEAP or (name == "chat" and "--once" in arguments)
    if runs and all(Path(text).exists() for text in files):
        cli.app(arguments, standalone_mode=False)


def parsed(arguments: list[str], block: Block) -> tuple[str, Any]:
    """The command's name and its parsed parameters; a usage error names the block."""
    command: Any = typer.main.get_command(cli.app)
    names: list[str] = []
    rest = list(arguments)
    while hasattr(command, "commands"):
        assert rest, f"{block}: no command"
        assert rest[0] in command.commands, f"{block}: no command {rest[0]}"
        names.append(rest.pop(0))
        command = command.commands[names[-1]]
    try:
        return " ".join(names), command.make_context(names[-1], rest)
    except Exception as error:
        raise AssertionError(f"{block}: {' '.join(arguments)}: {error}") from error
