"""Requote: a copy of a recipe file with the quotas and the pool that `tune` found. All else stays as it was written, comments too."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from shortlist.core.errors import ConfigError
from shortlist.experiment.freeze import blocks_of, statements
from shortlist.pipeline.config import read
from shortlist.pipeline.quota import Quota

Edit = tuple[int, int, str]  # start, stop, what stands there instead


def requote(source: Path, target: Path, quotas: Mapping[str, Quota], pool: int, overrides: Sequence[str] = ()) -> None:
    """Write the copy of the recipe file `source`, whole or not at all. quotas: by source; 0 = the source is left out, as a comment.
    ConfigError for a target that is not .toml, and for a file whose sources are not written as plain [[source]] entries."""
    if target.suffix != ".toml":
        raise ConfigError(f"--out {target}: a recipe is a .toml file")
    text = requoted(source.read_bytes().decode("utf-8"), quotas, pool, source.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_bytes(text.encode("utf-8"))
        gone = [f"source.{name}." for name, quota in quotas.items() if quota == 0]
        left = [
            change
            for change in overrides
            if not change.startswith(("pipeline.pool=", *gone)) and ".quota=" not in change
        ]
        made = read(draft, left)
        if made.quotas != {name: quota for name, quota in quotas.items() if quota != 0} or made.pipeline.pool != pool:
            raise ConfigError(
                f"{source.name}: cannot be written with other quotas: write each as quota = ... in its [[source]]"
            )
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def requoted(text: str, quotas: Mapping[str, Quota], pool: int, place: str = "recipe") -> str:
    """The text of a recipe with other quotas and another pool."""
    entries = tomllib.loads(text).get("source", [])
    blocks = blocks_of(text, "source")
    if len(blocks) != len(entries):
        raise ConfigError(f"{place}: cannot be written with other quotas: write its sources as [[source]] entries")
    edits = [_pool(text, pool)]
    for entry, (start, stop) in zip(entries, blocks, strict=True):
        quota = quotas[str(entry.get("name", str(entry.get("type", "")).rpartition(".")[2]))]
        block = text[start:stop]
        if quota == 0:
            kept = "\n".join(f"# {line}".rstrip() for line in block.splitlines())
            edits.append((start, stop, f"# Left out by tune: it brings nothing at this budget.\n{kept}"))
        else:
            edits.append(_put(text, start, stop, "quota", _value(quota)))
    for start, stop, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[stop:]
    return text


def _put(text: str, start: int, stop: int, key: str, value: str) -> Edit:
    """A key of the table whose text is given: its value replaced, or a line after the header."""
    inside = [(start + a, start + b) for a, b in statements(text[start:stop])]
    for a, b in inside:
        if re.match(rf"[\"']?{key}[\"']?\s*=", text[a:b]):
            found = re.search(r"\s*#[^\"'\n]*$", text[a:b])  # a remark behind a number or an inline table
            return a, b, f"{key} = {value}" + (found.group(0) if found else "")
    return inside[0][1], inside[0][1], f"\n{key} = {value}"


def _pool(text: str, pool: int) -> Edit:
    """Where `pool` of [pipeline] stands, or is to stand."""
    every = statements(text)
    for i, (a, b) in enumerate(every):
        if re.match(r"\[\s*[\"']?pipeline[\"']?\s*\]", text[a:b]):
            after = next((start for start, stop in every[i + 1 :] if text[start] == "["), len(text))
            inside = [stop for start, stop in every[i:] if start < after]
            return _put(text, a, inside[-1], "pool", str(pool))
    return len(text), len(text), f"\n[pipeline]\npool = {pool}\n"


def _value(quota: Quota) -> str:
    """A quota as TOML."""
    if isinstance(quota, dict):
        return "{ " + ", ".join(f"{name} = {number}" for name, number in quota.items()) + " }"
    return str(quota)
