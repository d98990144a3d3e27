"""docs/record.md as data: the fields that its table is about."""

from __future__ import annotations

import re

from tests.doc_blocks import ROOT

PAGE = (ROOT / "docs" / "record.md").read_text(encoding="utf-8")


def fields_told() -> set[str]:
    """Return the names in the first column of the table of a record's fields."""
    section = PAGE.partition("\n## Fields")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    return {name.removesuffix("[]") for first in firsts for name in re.findall(r"`([^`]+)`", first)}
