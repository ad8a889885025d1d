"""The table of all test rows, in a browser: filters, search, sorting, keyboard, CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from browser_pages import ATTACK, classified, summarised, written

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def count(page: Page) -> str:
    return page.inner_text("#count")


def texts(page: Page) -> list[str]:
    """The first words of the rows that are shown, in order."""
    cells = page.locator('#grid .tabulator-cell[tabulator-field="prompt"]').all_inner_texts()
    return [" ".join(cell.split()[:2]) for cell in cells]


def choice(page: Page, title: str) -> Locator:
    return page.get_by_role("combobox", name=title)


def outcome(page: Page, title: str) -> None:
    page.locator("#outcomes button", has_text=title).click()


def test_all_rows_are_there_and_counted_by_outcome(page: Page) -> None:
    assert count(page) == "7 of 7 rows"
    assert page.locator("#outcomes button").all_inner_texts() == [
        "All 7", "Fixed 3", "Broken 1", "Both right 2", "Both wrong 1", "Unreadable 1",
    ]  # fmt: skip
    assert not page.is_visible("#sample")


def test_an_outcome_shows_its_rows(page: Page) -> None:
    for title, wanted in {
        "Fixed": ["the soup", "the bread", "the waiter"],
        "Broken": ["the tea"],
        "Both right": ["the cake", "the chair"],
        "Both wrong": ["=1+1 was"],
        "Unreadable": ["=1+1 was"],
    }.items():
        outcome(page, title)
        assert texts(page) == wanted
        assert count(page) == f"{len(wanted)} of 7 rows"
        assert page.locator('#outcomes [aria-pressed="true"]').inner_text().startswith(title)


def test_the_rows_can_be_compared_with_every_other_system(page: Page) -> None:
    choice(page, "Compare with").select_option(label="Linear model (TF-IDF)")
    assert page.locator("#outcomes button").all_inner_texts()[1:] == [
        "Fixed 2", "Broken 1", "Both right 3", "Both wrong 1", "Unreadable 1",
    ]  # fmt: skip
    outcome(page, "Fixed")
    assert texts(page) == ["the waiter", "the chair"]
    assert "Linear model (TF-IDF)" in page.inner_text("#grid .tabulator-header")


def test_classes_slices_and_search_narrow_each_other(page: Page) -> None:
    choice(page, "Right class").select_option(label="good")
    assert count(page) == "4 of 7 rows"
    choice(page, "Answered class").select_option(label="(unreadable)")
    assert texts(page) == ["=1+1 was"]
    page.click("#reset")
    choice(page, "By length").select_option(label="long")
    assert texts(page) == ["the soup", "the bread"]
    page.fill("#find", "OLD bread")
    assert texts(page) == ["the bread"]
    page.fill("#find", "nothing like this")
    assert count(page) == "0 of 7 rows"
    page.click("#reset")
    assert count(page) == "7 of 7 rows"


def test_a_cell_of_the_confusion_matrix_leads_to_its_rows(page: Page) -> None:
    page.get_by_role("button", name="1 rows: right class good, answered bad").click()
    assert texts(page) == ["the tea"]
    page.get_by_role("button", name="1 rows: right class good, answered (unreadable)").click()
    assert texts(page) == ["=1+1 was"]
    page.get_by_role("button", name="3 rows: right class bad, answered bad").click()
    assert texts(page) == ["the bread", "the waiter", "the cake"]


def test_headers_sort_by_mouse_and_by_keyboard(page: Page) -> None:
    header = page.locator('#grid [role="columnheader"][tabulator-field="prompt"]')
    header.click()
    assert texts(page)[0] == "=1+1 was"
    header.focus()
    page.keyboard.press("Enter")
    assert texts(page)[0] == "the waiter"
    assert header.get_attribute("aria-sort") == "descending"


def test_arrows_move_from_row_to_row_and_enter_opens_one(page: Page) -> None:
    page.locator("#grid .tabulator-row").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.inner_text("#row-title") == "r2"
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#row-title") == "r3"
    page.keyboard.press("Escape")
    assert not page.is_visible("#row")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"


def test_a_row_is_opened_whole(page: Page) -> None:
    page.locator("#grid .tabulator-row").nth(3).click()
    body = page.inner_text("#row-body")
    assert "Say good or bad.\nText: the tea was fine\nAnswer:" in body
    assert "Base model ✓ right" in body
    assert "Tuned model ✕ wrong" in body
    assert "Linear model (TF-IDF) ✓ right" in body
    assert "rows.csv:5" in body


def test_words_that_the_right_answer_has_not_are_marked(open_page: Any, tmp_path: Path) -> None:
    page = open_page(written(summarised(), tmp_path / "report.html"))
    page.wait_for_selector("#grid .tabulator-row")
    marked = page.locator("#grid .tabulator-row mark").all_inner_texts()
    assert [text.strip() for text in marked] == ["the", "red dog", "a"]
    assert page.locator("#outcomes button").all_inner_texts() == ["All 1", "Improved 1"]
    assert "0.900" in page.inner_text("#grid")
    assert page.complaints == []


def test_a_rows_text_never_becomes_markup(page: Page) -> None:
    page.fill("#find", "chair")
    page.locator("#grid .tabulator-row").first.click()
    shown = page.inner_text("#row-body")
    assert ATTACK.replace("\u2028end", "") in shown
    assert "\\u2028end" in shown  # spelled out, as everywhere
    assert page.locator("#browser img, #row img, #row b").count() == 0
    assert page.title() != "run"


def test_csv_holds_the_rows_that_are_shown_and_no_formula(page: Page, tmp_path: Path) -> None:
    outcome(page, "Both wrong")
    with page.expect_download() as download:
        page.click("#csv")
    download.value.save_as(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {
            "id": "r5", "source": "rows.csv:7", "outcome": "Both wrong",
            "text": "'=1+1 was the bill", "right answer": "good", "Base model": "bad",
            "Linear model (TF-IDF)": "bad", "Tuned model": "no idea",
        }
    ]  # fmt: skip


def test_ten_thousand_rows_are_searched_and_fit_into_three_megabytes(
    open_page: Any, tmp_path: Path
) -> None:
    file = written(classified(copies=1430, words=80), tmp_path / "report.html")
    assert file.stat().st_size < 3_000_000
    page = open_page(file)
    page.wait_for_selector("#grid .tabulator-row")
    assert count(page) == "10,010 of 10,010 rows"
    page.fill("#find", "tea")
    page.wait_for_function("document.getElementById('count').textContent.startsWith('1,430 of')")
    assert page.locator("#grid .tabulator-row").count() == 20
    assert page.complaints == []
