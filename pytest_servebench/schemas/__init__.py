"""JSON Schemas of what is written for other programs, each with the version that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

SCHEMAS: Mapping[str, str] = MappingProxyType(
    {"record": "record-1.schema.json", "summary": "summary-1.schema.json"}
)
"""File by the word that a user types."""


def schema_text(word: str) -> str:
    """Return the JSON Schema of ``record`` or ``summary``, as it lies in the package."""
    return (Path(__file__).parent / SCHEMAS[word]).read_text(encoding="utf-8")
