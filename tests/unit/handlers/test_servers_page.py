"""docs/servers.md has every route and every setting of the FastAPI server."""

from __future__ import annotations

import re

from fastapi_app import classify, open_inference
from fastapi_app.settings import Settings

from tests.doc_blocks import ROOT

PAGE = (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")
GPU_PAGE = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.split(" | ")] for line in PAGE.splitlines() if line.startswith("| `")]


def test_every_route_is_told() -> None:
    """Those of image files, and those of the Open Inference Protocol but for their form with a version."""
    routes = {route.path for route in classify.router.routes if hasattr(route, "path")}
    routes |= {route.path.replace("{name}", "NAME") for route in open_inference.ROUTES}
    told = {path for row in ROWS for path in re.findall(r"`[A-Z]+ (/[^`]+)`", row[0])}
    assert {route for route in routes if "versions" not in route} <= told
    assert told - routes == {"/health", "/metrics"}


def test_every_setting_is_told() -> None:
    """Here, or where those of a GPU are."""
    told = set(re.findall(r"`([A-Z_]+)`", PAGE + GPU_PAGE))
    assert not {name.upper() for name in Settings.model_fields} - told


def test_defaults_are_those_of_the_settings() -> None:
    """A number or word in the second column is the field's."""
    fields = {name.upper(): field.default for name, field in Settings.model_fields.items()}
    compared = 0
    for names, defaults, *_ in (row for row in ROWS if len(row) > 1):
        words = re.findall(r"`([^`]+)`", defaults)
        settings = [name for name in re.findall(r"`([A-Z_]+)`", names) if name in fields]
        if words and settings:
            assert [_text(fields[name]) for name in settings] == words
            compared += 1
    assert compared > 5


def _text(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)
