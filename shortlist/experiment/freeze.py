"""Freeze: a copy of a recipe file in which what was left open (`auto` features) is replaced by what it chose. All else stays as it
was written, comments too."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path

from shortlist.core.errors import ConfigError
from shortlist.experiment.settle import Settled, toml
from shortlist.pipeline.config import Recipe, parse, read

STAGE = "feature"
QUOTES = ('"""', "'''", '"', "'")


def freeze(
    source: Path, target: Path, recipe: Recipe, chosen: Sequence[Settled], overrides: Sequence[str] = ()
) -> None:
    """Write the frozen copy of the recipe file `source`, whole or not at all. recipe: the settled one, which the copy must read as,
    with the same overrides (those of the open features are in the choice already). ConfigError for a target that is not .toml,
    and for a file whose features are not written as [[feature]] entries."""
    if target.suffix != ".toml":
        raise ConfigError(f"--freeze {target}: a recipe is a .toml file")
    text = frozen(source.read_bytes().decode("utf-8"), chosen, source.name)
    asked = {one.asked for one in chosen}
    left = [override for override in overrides if not any(override.startswith(f"{STAGE}.{name}.") for name in asked)]
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_bytes(text.encode("utf-8"))
        if read(draft, left).resolved() != parse(recipe.resolved()).resolved():
            raise ConfigError(f"{source.name}: cannot be frozen: the copy would not read as the same recipe")
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def frozen(text: str, chosen: Sequence[Settled], place: str = "recipe") -> str:
    """The text of a recipe with every open [[feature]] entry replaced; the old entry stays as a comment."""
    entries = tomllib.loads(text).get(STAGE, [])
    blocks = blocks_of(text, STAGE)
    if len(blocks) != len(entries):
        raise ConfigError(f"{place}: cannot be frozen: write its features as [[{STAGE}]] entries")
    made, done = "", 0
    for entry, (start, stop) in zip(entries, blocks, strict=True):
        name = str(entry.get("name", str(entry.get("type", "")).rpartition(".")[2]))
        own = [one for one in chosen if one.asked == name]
        if not own:
            continue
        old = "\n".join(f"# {line}".rstrip() for line in text[start:stop].splitlines())
        made += f"{text[done:start]}# Chosen for these data, and frozen, in place of\n{old}\n\n{toml(own)}"
        done = stop + 1 if text[stop : stop + 1] == "\n" else stop
    return made + text[done:]


def blocks_of(text: str, stage: str) -> list[tuple[int, int]]:
    """Where each [[stage]] entry begins, and where its last line ends: comments that follow are not its own."""
    blocks: list[tuple[int, int]] = []
    inside = False
    for start, stop in statements(text):
        statement = text[start:stop]
        if statement.startswith("["):
            name = (
                statement.split("#")[0].strip().strip("[]").replace('"', "").replace("'", "").replace(" ", "").strip()
            )
            opens = statement.startswith("[[") and name == stage
            inside = opens or (inside and name.startswith(f"{stage}."))
            if opens:
                blocks.append((start, stop))
        if inside:
            blocks[-1] = (blocks[-1][0], stop)
    return blocks


def statements(text: str) -> list[tuple[int, int]]:
    """Where every statement of a valid TOML text (a header, or a key with its value) begins and where its last line ends. Brackets and
    newlines inside values, and all that stands in strings, end nothing."""
    found = []
    at, size = 0, len(text)
    while at < size:
        if text[at] in " \t\r\n":
            at += 1
        elif text[at] == "#":
            at = _line_end(text, at)
        else:
            stop = _line_end(text, at) if text[at] == "[" else _value_end(text, at)
            found.append((at, stop))
            at = stop
    return found


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _value_end(text: str, at: int) -> int:
    """The end of the line on which a key's value ends."""
    depth = 0
    while at < len(text):
        quote = next((quote for quote in QUOTES if text.startswith(quote, at)), "")
        if quote:
            at = _string_end(text, at + len(quote), quote)
        elif text[at] == "#":
            at = _line_end(text, at)
        elif text[at] == "\n" and depth == 0:
            return at
        else:
            depth += (text[at] in "[{") - (text[at] in "]}")
            at += 1
    return at


def _string_end(text: str, at: int, quote: str) -> int:
    """Behind the closing quotes of a string. Only basic strings (double quotes) have escapes."""
    while not text.startswith(quote, at):
        at += 2 if text[at] == "\\" and quote[0] == '"' else 1
    at += len(quote)
    while len(quote) == 3 and text.startswith(quote[0], at):  # up to two quotes may stand before the closing ones
        at += 1
    return at
