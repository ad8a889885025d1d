"""report.html: one file that needs no network and no other file, and that can be read without its
script.

The browser is told to run nothing but the page's own script and to apply nothing but its own style,
by their hashes: nothing in a row's text can run, even if it could pose as markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from tunesmith.report.answers import chips
from tunesmith.report.browser import SAMPLE, pack, sample_table
from tunesmith.report.content import Report, verdict_class
from tunesmith.report.next_steps import next_steps
from tunesmith.report.page import FOLDER, csp_hash, page_environment, spelled_out
from tunesmith.report.plots import PALETTE, Plot
from tunesmith.report.sections import Section, sections_of
from tunesmith.report.strip import strip_of
from tunesmith.report.usage import base_name, day, parameters

VENDOR = FOLDER / "vendor"


def render_html(
    report: Report, plots: Sequence[Plot], sections: Sequence[Section] | None = None
) -> str:
    """The whole page. Every text of the report is escaped; only our own plots, style and script go
    in as markup. `sections` are the report's, where they are known already.
    """
    environment = page_environment(finalize=spelled_out)
    environment.filters["inline_svg"] = inline_svg
    template = environment.get_template("report.html.j2")
    return template.render(_context(report, plots, sections or sections_of(report)))


def _context(
    report: Report, plots: Sequence[Plot], sections: Sequence[Section]
) -> dict[str, object]:
    style, script = page_style(), page_script()
    rows = next((section.rows for section in sections if section.rows), None)
    return {
        "report": report,
        "verdict_class": verdict_class(report.verdict_kind),
        "facts": _facts(report),
        "strip": strip_of(report),
        "chips": chips(report),
        "steps": next_steps(report),
        "first": _open(sections),
        "folded": [section for section in sections if not section.first],
        "plots": {plot.name: plot for plot in plots},
        "packed": pack(rows) if rows else None,
        "sample": sample_table(rows) if rows else None,
        "sample_size": SAMPLE,
        "policy": content_policy(style, script if rows else ""),
        "style": Markup(style),  # noqa: S704 - our own files
        "script": Markup(script),  # noqa: S704 - our own files
    }


def _open(sections: Sequence[Section]) -> list[Section]:
    """The sections that are not folded; gates, which decide, before the rows."""
    return sorted((s for s in sections if s.first), key=lambda section: section.id != "gates")


def _facts(report: Report) -> str:
    """What a reader wants to know before the verdict: of what, how large, when."""
    found = [
        f"tuned from {base_name(report.base_model)}" if report.base_model else "",
        parameters(report),
        f"tested on {day(report.tested)}" if day(report.tested) else "",
    ]
    return ", ".join(filter(None, found))


# ---- style, script, and what the browser may run


def page_style() -> str:
    """The table library's style, then ours."""
    library = (VENDOR / "tabulator_simple.min.css").read_text(encoding="utf-8")
    return f"{library}\n{(FOLDER / 'style.css').read_text(encoding='utf-8')}"


def page_script() -> str:
    """The libraries with their licences, then ours."""
    parts = [
        part
        for name, file in (("tabulator", "tabulator.min.js"), ("diff", "diff.min.js"))
        for part in (_licence(name), (VENDOR / file).read_text(encoding="utf-8"))
    ]
    return "\n".join([*parts, (FOLDER / "browser.js").read_text(encoding="utf-8")])


def _licence(name: str) -> str:
    text = (VENDOR / f"LICENSE.{name}").read_text(encoding="utf-8").replace("*/", "* /")
    return f"/*! {name}\n{text}\n*/"


def content_policy(style: str, script: str) -> str:
    """Nothing from anywhere but the one style and, where there is one, the one script.

    Drawings and widths are written as style attributes, which can load nothing under this policy.
    """
    parts = [
        "default-src 'none'",
        f"style-src-elem '{csp_hash(style)}'",
        "style-src-attr 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join([*parts, *([f"script-src '{csp_hash(script)}'"] if script else [])])


def inline_svg(plot: Plot) -> Markup:
    """The plot's <svg> element for an HTML page, in the page's colours.

    Ids get the plot's name as a prefix, because the page holds several plots. The XML declaration
    and the namespaces, which HTML does not need, go.
    """
    svg = plot.svg[plot.svg.index("<svg") :]
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    # matplotlib's style sheet would apply to the whole page; ours says the same
    svg = re.sub(r"<style.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{plot.name}-", svg)
    svg = re.sub(
        r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg
    )
    for name, colour in PALETTE.items():
        svg = svg.replace(colour, f"var(--{name})")
    return Markup(svg)  # noqa: S704 - matplotlib's own markup, in which it escapes all text
