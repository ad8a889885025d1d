"""A preview on the screen and as an HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tunesmith.data.preview import Preview, ShownRow, Token
from tunesmith.inert import inert

FURTHER_BYTE = "·"  # stands for a token that is a further byte of the character before
COLOUR_LEGEND = (
    "green: trained; dim: masked; reversed: special tokens; "
    "underlined in turn, so that each token shows"
)
PLAIN_LEGEND = "[each trained token in brackets], everything else is masked"


@dataclass(frozen=True)
class PreviewScreen:
    """What rich prints. Where there is no colour (a pipe, NO_COLOR) trained tokens stand in
    brackets.
    """

    preview: Preview

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        coloured = console.color_system is not None and not console.no_color
        for row in self.preview.rows:
            yield Text(_title(row), "bold")
            yield from (Text(line, "red" if coloured else "") for line in _remarks(row))
            if row.tokens:
                yield _coloured(row) if coloured else _plain(row)
            yield Text()
        yield Text(COLOUR_LEGEND if coloured else PLAIN_LEGEND, "italic")
        for note in self.preview.notes:
            yield Text(f"note: {note}")
        yield Text(self.preview.summary())


def _title(row: ShownRow) -> str:
    counts = f"{row.num_tokens:,} tokens, {row.num_trained:,} trained"
    return f"row {row.id}  {row.source}  {row.template}" + (f"  {counts}" if row.tokens else "")


def _remarks(row: ShownRow) -> Iterator[str]:
    if row.too_long_by:
        fate = row.note if row.note else "rejected"
        yield f"too long by {row.too_long_by:,} tokens (max_length is {row.max_length:,}): {fate}"
    elif row.problem:
        yield f"not used: {row.problem}"


def _coloured(row: ShownRow) -> Text:
    text = Text()
    for position, token in enumerate(row.tokens):
        style = "green" if token.trained else "dim"
        style += " reverse" if token.special else " underline" if position % 2 else ""
        text.append(visible(token), style)
    return text


def _plain(row: ShownRow) -> Text:
    return Text(
        "".join(f"[{visible(token)}]" if token.trained else visible(token) for token in row.tokens)
    )


def visible(token: Token) -> str:
    """The token's text with line ends and control characters to be seen, and harmless to a
    terminal.
    """
    if not token.text:
        return FURTHER_BYTE
    shown = (c if c.isprintable() else "↵\n" if c == "\n" else repr(c)[1:-1] for c in token.text)
    return "".join(shown)


# ---- a page

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Preview of training rows</title>
<style>
:root {{ color-scheme: light dark;
  --text: #1c1c1c; --back: #ffffff; --masked: #707070; --edge: #d8d8d8;
  --trained: #0b5a1e; --trained-back: #d9f2de; --warning: #a01818; }}
@media (prefers-color-scheme: dark) {{ :root {{
  --text: #e6e6e6; --back: #161616; --masked: #9a9a9a; --edge: #3a3a3a;
  --trained: #a6e9b5; --trained-back: #16381f; --warning: #ff9a9a; }} }}
body {{ margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); }}
h2 {{ font-size: 1rem; margin: 2rem 0 .25rem; overflow-wrap: anywhere; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; font: 14px/1.7 ui-monospace, monospace; }}
.token {{ border-right: 1px solid var(--edge); color: var(--masked); }}
.trained {{ color: var(--trained); background: var(--trained-back); font-weight: 600;
  border-color: var(--trained); }}
.special {{ font-style: italic; text-decoration: underline dotted; }}
.warning {{ color: var(--warning); }}
</style>
</head>
<body>
<h1>Preview of training rows</h1>
{notes}<p>{summary}</p>
<p><span class="token trained">trained tokens</span> <span class="token">masked tokens</span>
<span class="token special">special tokens</span>; point at a token to see its number.</p>
{rows}
</body>
</html>
"""


def as_html(preview: Preview) -> str:
    """One page without scripts, links or files beside it, in the reader's light or dark colours."""
    return PAGE.format(
        notes="".join(f"<p>{escape(note)}</p>\n" for note in preview.notes),
        summary=escape(preview.summary()),
        rows="\n".join(map(_row_html, preview.rows)),
    )


def _row_html(row: ShownRow) -> str:
    remarks = "".join(
        f'<p class="warning">{escape(inert(remark))}</p>\n' for remark in _remarks(row)
    )
    tokens = "".join(map(_token_html, row.tokens))
    return f"<h2>{escape(inert(_title(row)))}</h2>\n{remarks}" + (
        f"<pre>{tokens}</pre>" if tokens else ""
    )


def _token_html(token: Token) -> str:
    kind = "token" + (" trained" if token.trained else "") + (" special" if token.special else "")
    return f'<span class="{kind}" title="{token.id}">{escape(visible(token))}</span>'
