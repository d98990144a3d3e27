"""What is put into the page beside its words: style, scripts, and data for them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from importlib.resources import files

VEGA = ("vega", "vega-lite", "vega-embed")
"""In the order in which they need each other."""
_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)
"""A map is in another file, which developer tools would ask for."""
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def text_of(name: str) -> str:
    """Return a file of this package."""
    return files("pytest_servebench.reports.page").joinpath(name).read_text(encoding="utf-8")


def vega_scripts() -> tuple[str, ...]:
    """Return Vega's scripts, each below its licence."""
    return tuple(_licensed(name) for name in VEGA)


def json_for_script(data: object) -> str:
    """Return JSON in which nothing can end the script that it stands in; NaN is a ValueError."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    for sign, escape in _ESCAPES.items():
        text = text.replace(sign, escape)
    return text


def hash_of(script: str) -> str:
    """Return what a content security policy knows a script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _licensed(name: str) -> str:
    script = _SOURCE_MAP.sub("", text_of(f"vega/{name}.min.js")).strip()
    return f"/*! {name}\n{text_of(f'vega/LICENSE.{name}').strip()}\n*/\n{script}\n"
