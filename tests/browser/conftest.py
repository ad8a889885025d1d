"""A headless Chromium, where this machine has one, with a report in it.

Playwright and axe are development tools that need no browser of their own: the system's is used.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser_pages import classified, written

from tunesmith.report.content import Report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Skips where Playwright or a browser is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs a Chromium on the PATH")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def report() -> Report:
    return classified()


@pytest.fixture(scope="session")
def report_file(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(report, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="session")
def open_page(browser: Browser) -> Iterator[Any]:
    """`open_page(file, **context)`: the page, which fails where it says something on the console,
    or asks for anything but the file itself.
    """
    contexts = []

    def opened(file: Path, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _note_request(request.url, file, complaints))
        page.goto(file.as_uri())
        page.complaints = complaints
        return page

    yield opened
    for context in contexts:
        context.close()


def _note_request(url: str, file: Path, complaints: list[str]) -> None:
    if url != file.as_uri() and not url.startswith("blob:"):
        complaints.append(f"asked for {url}")


@pytest.fixture
def page(open_page: Any, report_file: Path) -> Iterator[Page]:
    """The report on a desktop screen, with its table; nothing was said on the console."""
    found = open_page(report_file)
    found.wait_for_selector("#grid .tabulator-row")
    yield found
    assert found.complaints == []
    found.context.close()
