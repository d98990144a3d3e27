"""Imports the guests that tests here talk to, without leaving their folder on the path.

``handlers/`` holds folders named after servers; on the path for good they would shadow
packages of the same name for whatever is imported later.
"""

from __future__ import annotations

import importlib
import sys

from pytest_servebench.shipped import shipped

sys.path.insert(0, str(shipped("handlers")))
try:
    for _guest in ("app", "backlog", "batcher", "body", "metrics", "settings", "wire"):
        importlib.import_module(f"fastapi_app.{_guest}")
finally:
    sys.path.pop(0)
