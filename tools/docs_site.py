"""Hooks of MkDocs (mkdocs.yml): files outside docs/ that a page links to become files of the site.

On a code host `[a script](../examples/launch/slurm.sh)` is a link into the repository. The site has
no repository to point to, so it takes a copy of each such file along, under `source/`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|link(?=[^>]*stylesheet))\b[^>]*?(?:src|href)=["']?"""
    r"""((?:https?:)?//[^"'\s>]+)"""
)
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")


def outside(page: str, link: str) -> str | None:
    """The place in the repository that a page's relative link leads to, if that is outside docs/.

    >>> outside("scaling.md", "../examples/launch/slurm.sh")
    'examples/launch/slurm.sh'
    >>> outside("guides/classify.md", "../recipe.md") is None
    True
    """
    target = os.path.normpath(DOCS / Path(page).parent / link)
    place = os.path.relpath(target, ROOT)
    inside = os.path.relpath(target, DOCS)
    return place if inside.startswith("..") and Path(target).is_file() else None


def rewritten(page: str, markdown: str) -> str:
    """A page's text with its links out of docs/ leading to the copies."""

    def change(match: re.Match[str]) -> str:
        place = outside(page, match[1])
        if place is None:
            return match[1]
        return os.path.relpath(Path("source") / place, Path(page).parent)

    return LINK.sub(change, markdown)


def linked() -> set[str]:
    """Every file outside docs/ that a page links to."""
    found = {
        outside(str(path.relative_to(DOCS)), link)
        for path in DOCS.rglob("*.md")
        for link in LINK.findall(path.read_text(encoding="utf-8"))
    }
    return {place for place in found if place}


def loaded_from_elsewhere(site: Path) -> list[str]:
    """What the pages of a built site would load from another host: scripts, styles, images."""
    return [
        f"{page.relative_to(site)}: {address}"
        for page in sorted(site.rglob("*.html"))
        for address in LOADED.findall(page.read_text(encoding="utf-8"))
    ]


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs with the files of the site."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - the rest is tested without MkDocs

    for place in sorted(linked()):
        files.append(File.generated(config, f"source/{place}", abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs with each page's text."""
    return rewritten(page.file.src_uri, markdown)
