"""What `init` proposes for tables: right on the awkward ones, and on the real data sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support import shared
from tool_modules import tool_module

from tunesmith.errors import DataError
from tunesmith.init.proposal import in_words, propose
from tunesmith.init.read import read_table
from tunesmith.recipe import DataConfig

CASES = tool_module("init_cases")
WITH_LABELS = ("integer_labels", "names_in_the_header", "id_as_label", "column_a_label")
AWKWARD = {case.name: case for case in (*CASES.cases(), *CASES.hopeless())}
PAGE = Path(__file__).parents[2] / "docs" / "init.md"


def proposed(path: Path, wanted: dict[str, str] | None = None, task: str | None = None) -> str:
    seen = read_table(DataConfig(source=str(path)), wanted or {}, task)
    return in_words(seen.proposal, seen.table)


@pytest.mark.parametrize("name", AWKWARD)
def test_the_proposal_is_right_on_awkward_tables(name: str, tmp_path: Path) -> None:
    case = AWKWARD[name]
    seen = read_table(DataConfig(source=str(CASES.write_case(case, tmp_path))), {})
    assert in_words(seen.proposal, seen.table) == case.right
    assert case.warns in "\n".join(seen.proposal.doubts)


def test_the_page_has_every_awkward_table_as_it_is_proposed_now() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for case in AWKWARD.values():
        shown = case.right.replace("|", "\\|")
        assert f"| {shown} | {shown} | yes |" in page, case.name
    assert "**no**" not in page


@pytest.mark.parametrize("name", CASES.SHARED)
def test_the_proposal_is_right_on_real_data_and_the_page_says_so(name: str) -> None:
    right = CASES.SHARED[name]
    assert proposed(shared("data", *name.split("/"))) == right
    assert f"| `{name}` | {right} | {right} | yes |" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CASES.REFUSED)
def test_what_gives_no_recipe_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(DataError, match=CASES.REFUSED[name]):
        proposed(shared("data", *name.split("/")))


def ticket_table(folder: Path) -> Path:
    return Path(CASES.write_case(AWKWARD["ticket_table"], folder))


def test_columns_that_the_user_names_are_taken(tmp_path: Path) -> None:
    found = proposed(ticket_table(tmp_path), {"text": "team", "label": "customer_id"})
    assert found.startswith("classify: text=team, label=customer_id;")


def test_a_task_that_the_user_names_gets_its_columns(tmp_path: Path) -> None:
    assert proposed(ticket_table(tmp_path), task="free").startswith(
        "free: text=description, target=team; id ticket_id; exact_match;"
    )


@pytest.mark.parametrize(
    ("name", "family"),
    [(name, "classify") for name in WITH_LABELS]
    + [("labels_with_semicolons", "multi_label_classify")],
)
def test_a_wording_gets_the_proposal_of_its_family(name: str, family: str, tmp_path: Path) -> None:
    source = DataConfig(source=str(CASES.write_case(AWKWARD[name], tmp_path)))
    whole = read_table(source, {}, family).proposal
    assert read_table(source, {}, f"{family}/terse").proposal == replace(
        whole, task=f"{family}/terse"
    )


def test_a_wording_is_warned_of_labels_as_its_family_is(tmp_path: Path) -> None:
    labels = ["Yes"] * 90 + ["yes"] * 5 + ["no"] * 5
    lines = [f"some words of row {i},{label}\n" for i, label in enumerate(labels)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(lines), "utf-8")
    found = read_table(DataConfig(source=str(tmp_path / "rows.csv")), {}, "classify/terse").proposal
    assert found.metrics == ("macro_f1",)
    warned = "\n".join(found.doubts)
    assert "classes with fewer than 10 rows: 'yes' (5), 'no' (5)" in warned
    assert "labels that may be one: 'Yes' and 'yes'" in warned


def test_a_wording_stands_for_a_template_of_the_rules_own(tmp_path: Path) -> None:
    source = DataConfig(source=str(CASES.write_case(AWKWARD["rated_pairs"], tmp_path)))
    found = read_table(source, {}, "score/terse").proposal
    assert (found.task, found.template) == ("score/terse", None)
    assert set(found.columns) == {"text", "number"}


def test_an_inverted_wording_asks_for_no_label(tmp_path: Path) -> None:
    source = DataConfig(source=str(CASES.write_case(AWKWARD["integer_labels"], tmp_path)))
    assert read_table(source, {}, "classify").proposal.unnamed
    assert not read_table(source, {}, "classify/write_from_label").proposal.unnamed


def test_a_slot_that_only_another_task_has_decides_the_task(tmp_path: Path) -> None:
    table = ticket_table(tmp_path)
    assert proposed(table, {"target": "team"}).startswith("free: text=description, target=team;")
    assert proposed(table, {"question": "description"}).startswith(
        "answer: question=description, target=team;"
    )


def test_a_column_that_is_not_there_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no column 'teem'") as error:
        proposed(ticket_table(tmp_path), {"label": "teem"})
    assert error.value.hint == "did you mean 'team'?"


def test_a_folder_of_several_tasks_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "some words,x\nmore words,y\n" * 9, "utf-8")
    (tmp_path / "b.csv").write_text("input,output\n" + "some,other\n" * 9, "utf-8")
    doubts = read_table(DataConfig(source=str(tmp_path)), {}).proposal.doubts
    assert any("different columns (a.csv, b.csv ...)" in text for text in doubts)


def test_every_reason_names_a_key_of_the_recipe(tmp_path: Path) -> None:
    seen = read_table(DataConfig(source=str(ticket_table(tmp_path))), {})
    found = propose(seen.table, seen.beside)
    assert found.reasons == {
        "data.task": "the 3 values of 'team' come back in other rows",
        "data.split": "rows of one 'customer_id' stay together; {time: created} would test on the "
        "newest rows",
        "evaluation.metrics": "the task's own, of which accuracy decides",
    }
