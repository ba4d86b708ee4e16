"""The HTML of the report: one file that needs nothing from outside. Helpers that escape, and the style sheet."""

import html
from collections.abc import Sequence
from dataclasses import dataclass


def esc(text: object) -> str:
    """Text made safe for HTML."""
    return html.escape(str(text))


@dataclass(frozen=True)
class Cell:
    """A table cell: main text, small text below it, and CSS classes."""

    text: str
    small: str = ""
    css: str = ""

    def html(self, tag: str = "td") -> str:
        """The cell as an element."""
        small = f"<small>{esc(self.small)}</small>" if self.small else ""
        css = f' class="{esc(self.css)}"' if self.css else ""
        return f"<{tag}{css}>{esc(self.text)}{small}</{tag}>"


def table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[Cell]]]) -> str:
    """A table that scrolls sideways where it is too wide, its first column staying. rows: (CSS class, cells); the first cell of
    a row is its heading."""
    texts = {at for _, cells in rows for at, cell in enumerate(cells) if cell.css == "text"}
    titles = "".join(
        f'<th scope="col"{" class=text" if at in texts else ""}>{esc(title)}</th>' for at, title in enumerate(head)
    )
    lines = []
    for css, cells in rows:
        first, rest = cells[0], cells[1:]
        inner = f'<th scope="row">{esc(first.text)}</th>' + "".join(cell.html() for cell in rest)
        lines.append(f'<tr class="{esc(css)}">{inner}</tr>' if css else f"<tr>{inner}</tr>")
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{titles}</tr></thead><tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def card(title: str, body: str, note: str = "") -> str:
    """A titled box. note: one sentence about how to read it; body: HTML."""
    about = f'<p class="note">{esc(note)}</p>' if note else ""
    return f'<section class="card"><h2>{esc(title)}</h2>{about}\n{body}\n</section>'


def beside(left: Sequence[str], right: Sequence[str]) -> str:
    """Two columns of cards; one below the other on a narrow screen. Empty cards are left out, and so is an empty column."""
    stacks = ["\n".join(card for card in cards if card) for cards in (left, right)]
    inner = "\n".join(f'<div class="stack">{stack}</div>' for stack in stacks if stack)
    return f'<div class="cards">{inner}</div>' if all(stacks) else inner


def tile(title: str, value: str, small: str = "") -> str:
    """One key figure."""
    return f'<div class="tile"><dt>{esc(title)}</dt><dd>{esc(value)}<small>{esc(small) or "&nbsp;"}</small></dd></div>'


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Names with their colour. entries: (role, name)."""
    return (
        '<p class="legend">'
        + "".join(f'<span><i style="background:var(--{esc(role)})"></i>{esc(name)}</span>' for role, name in entries)
        + "</p>"
    )


def pairs(entries: Sequence[tuple[str, str]]) -> str:
    """Names and values, one per line."""
    return (
        '<dl class="pairs">'
        + "".join(f"<dt>{esc(name)}</dt><dd>{esc(value)}</dd>" for name, value in entries)
        + "</dl>"
    )


def document(title: str, body: str) -> str:
    """The whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{esc(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


STYLE = """
:root { color-scheme: light dark;
  --page: #f5f6f8; --surface: #ffffff; --ink: #1b2330; --muted: #5c6778; --grid: #e1e5eb; --soft: #eef1f5;
  --accent: #2f6fde; --other: #a9b6c8; --loss: #e08a4a; --good: #2f9e6e; --second: #8a63d2; --bad: #cf4436; --even: #b98208; }
@media (prefers-color-scheme: dark) { :root {
  --page: #0f141b; --surface: #171e28; --ink: #e6ebf2; --muted: #97a3b4; --grid: #2b3543; --soft: #1f2835;
  --accent: #5b93f5; --other: #55647a; --loss: #d07b3c; --good: #3fb883; --second: #a886ec; --bad: #f0705f; --even: #dba62c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 48px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 16px; margin-bottom: 16px; }
h1 { font-size: 22px; margin: 0; letter-spacing: -0.01em; }
header p { margin: 0; color: var(--muted); font-size: 13px; }
h2 { font-size: 15px; margin: 0 0 4px; }
h3 { font-size: 13px; margin: 14px 0 4px; }
p { margin: 0 0 8px; }
.verdict { background: var(--surface); border: 1px solid var(--grid); border-left: 6px solid var(--tone); border-radius: 10px;
  padding: 16px 20px; margin-bottom: 16px; }
.verdict .headline { font-size: 19px; line-height: 1.35; font-weight: 650; margin: 0 0 6px; text-wrap: pretty; }
.verdict .word { display: inline-block; color: var(--tone); font-size: 12px; font-weight: 700; letter-spacing: 0.06em;
  text-transform: uppercase; margin-bottom: 4px; }
.verdict ul { margin: 0; padding-left: 18px; color: var(--muted); }
.good { --tone: var(--good); } .bad { --tone: var(--bad); } .even { --tone: var(--even); } .none { --tone: var(--muted); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin: 0 0 16px; }
.tile { background: var(--surface); border: 1px solid var(--grid); border-radius: 10px; padding: 12px 14px; }
.tile dt { color: var(--muted); font-size: 12px; }
.tile dd { margin: 0; font-size: 23px; font-weight: 650; font-variant-numeric: tabular-nums; letter-spacing: -0.01em; }
.tile small { display: block; font-size: 12px; font-weight: 400; color: var(--muted); letter-spacing: 0; }
.cards { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 0 16px; align-items: start; }
.card { background: var(--surface); border: 1px solid var(--grid); border-radius: 10px; padding: 16px 18px; min-width: 0;
  margin-bottom: 16px; }
.note { color: var(--muted); font-size: 13px; max-width: 80ch; }
.plot { display: block; width: 100%; height: auto; max-width: 560px; }
.plot.broad { max-width: none; }
.only-narrow { display: none; }
.scroll { overflow-x: auto; margin: 0 -8px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 8px; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; vertical-align: top; }
thead th { color: var(--muted); font-weight: 500; font-size: 12px; }
th:first-child { text-align: left; position: sticky; left: 0; padding-left: 8px; background: var(--surface); }
th.text { text-align: left; }
td.text { text-align: left; white-space: normal; min-width: 240px; }
tbody th { font-weight: 500; }
tbody tr:last-child > * { border-bottom: 0; }
td small { display: block; color: var(--muted); font-size: 11px; font-weight: 400; }
tr.pipeline > * { background: var(--soft); font-weight: 600; }
td.best { color: var(--accent); font-weight: 650; }
td.up { color: var(--good); } td.down { color: var(--bad); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 12.5px; color: var(--muted); margin: 6px 0 0; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px; }
.pairs { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 16px; margin: 0; font-size: 13.5px; }
.pairs dt { color: var(--muted); }
.pairs dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.example { border-top: 1px solid var(--grid); padding-top: 10px; margin-top: 10px; }
.example:first-of-type { border-top: 0; margin-top: 0; padding-top: 0; }
.example h3 { margin-top: 4px; }
.example .note { margin: 6px 0 2px; }
.example .sides { display: grid; grid-template-columns: 1fr 1.5fr; gap: 0 24px; }
.example ol { margin: 0; padding-left: 22px; font-size: 13.5px; }
.example li.hit { font-weight: 650; } .example li.hit::marker { color: var(--good); }
.tag { display: inline-block; background: var(--soft); color: var(--muted); border-radius: 4px; padding: 0 6px; margin-left: 6px;
  font-size: 11.5px; font-weight: 400; }
.tag.hit { background: var(--good); color: var(--surface); font-weight: 600; }
pre { background: var(--soft); border-radius: 6px; padding: 10px 12px; margin: 6px 0 0; overflow-x: auto;
  font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre.wrap { white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--muted); font-size: 13px; }
@media (max-width: 760px) { main { padding: 16px 12px 32px; } .cards { grid-template-columns: minmax(0, 1fr); }
  .verdict { padding: 14px 14px; } .verdict .headline { font-size: 17px; } .card { padding: 14px; margin-bottom: 12px; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px; } .tile { padding: 10px 12px; } .tile dd { font-size: 20px; }
  th, td { padding: 7px 7px; } td.text { min-width: 150px; }
  .example .sides { grid-template-columns: 1fr; } .only-wide { display: none; } .only-narrow { display: block; } }
@media print { body { background: none; } .card, .tile, .verdict { break-inside: avoid; } }
"""
