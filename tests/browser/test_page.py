"""The page as it is seen: without a script, on a phone, in print, by a screen reader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.mark.parametrize("scheme, width", [("dark", 390), ("light", 1280)])
def test_axe_finds_nothing_to_complain_of(
    open_page: Any, report_file: Path, scheme: str, width: int
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe").Axe()
    # axe is put into the page as a script, which the page's own policy would refuse
    page = open_page(
        report_file,
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        bypass_csp=True,
    )
    page.wait_for_selector("#grid .tabulator-row")
    open_all(page)
    assert violations(axe, page) == []
    page.locator("#grid .tabulator-row").first.click()
    assert violations(axe, page) == []


def violations(axe: Any, page: Page) -> list[str]:
    found = axe.run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found]


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")


def test_without_a_script_a_sample_of_the_rows_is_there(open_page: Any, report_file: Path) -> None:
    page = open_page(report_file, java_script_enabled=False)
    assert not page.is_visible("#browser")
    assert page.is_visible("#sample")
    shown = page.locator("#sample tbody th").all_inner_texts()
    assert shown == ["Fixed", "Fixed", "Fixed", "Broken", "Both right", "Both right", "Both wrong"]
    assert "All 7 rows can be searched" in page.inner_text("#sample")


@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_is_wider_than_the_screen(open_page: Any, report_file: Path, width: int) -> None:
    page = open_page(report_file, viewport={"width": width, "height": 900})
    page.wait_for_selector("#grid .tabulator-row")
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut_off = page.evaluate(
        """[...document.querySelectorAll('.scroll')]
             .filter((part) => part.scrollWidth > part.clientWidth + 1)
             .map((part) => part.getAttribute('aria-label'))"""
    )
    assert cut_off == []
    assert page.complaints == []


def test_print_shows_what_is_folded_and_the_sample_in_place_of_the_table(
    open_page: Any, report_file: Path
) -> None:
    page = open_page(report_file)
    page.wait_for_selector("#grid .tabulator-row")
    assert not page.is_visible("#words >> xpath=../.. >> .folded")
    page.emulate_media(media="print")
    assert page.is_visible("#sample")
    assert not page.is_visible("#browser")
    heights = page.evaluate(
        """[...document.querySelectorAll('.folded')]
             .map((part) => part.getBoundingClientRect().height)"""
    )
    assert len(heights) > 3
    assert min(heights) > 20


def test_the_answer_is_seen_without_scrolling(page: Page) -> None:
    """Heading, strip, answers and what to do, on a laptop's screen."""
    for what in ("h1", ".strip", ".questions", ".steps"):
        box = page.locator(what).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 900, what
    assert len(page.inner_text("h1").split()) <= 10


def test_answers_have_a_word_and_an_icon(page: Page) -> None:
    chips = page.locator(".questions .kind").all_inner_texts()
    assert chips == [
        "✓ Right on the task: Yes",
        "? Beats the cheap alternative: Cannot tell",
        "– Kept its general language: Not measured",
    ]
