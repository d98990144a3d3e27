"""Reads the arithmetic of a model file from the file itself: not from its name, nor from what was asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from pytest_servebench.folders.made_once import HOW_MADE
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.held import LAYERS, NO_TF32, Held
from pytest_servebench.models.plan_layers import held_by_layers
from pytest_servebench.models.torchscript_types import numbers_by_precision


def held_in(path: Path) -> Held:
    """Return what a ``.onnx``, ``.pt`` or ``.plan`` file holds; where that cannot be read, why."""
    try:
        if path.suffix == ".plan":
            return _held_in_plan(path.parent)
        found = _weights_of(path)
    except (OSError, ValueError) as error:
        return Held(absent=f"{path.name} does not say it: {error}")
    if not found:
        return Held(absent=f"{path.name} has no weights that say it")
    return Held(precision=max(found, key=lambda word: found[word]))


def _weights_of(path: Path) -> Mapping[str, int]:
    if path.suffix == ".pt":
        return numbers_by_precision(path)
    found: Mapping[str, int] = _onnx_reader().read_onnx(path).elements
    return found


def _held_in_plan(folder: Path) -> Held:
    try:
        told = json.loads((folder / LAYERS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Held(absent=f"no {LAYERS} of TensorRT lies beside the plan")
    except ValueError as error:
        return Held(absent=f"the {LAYERS} beside the plan is no JSON: {error}")
    return held_by_layers(told, tf32=NO_TF32 not in _built_by(folder))


def _built_by(folder: Path) -> tuple[str, ...]:
    """Return the command that built the plan; empty where nothing says it."""
    try:
        return tuple(json.loads((folder / HOW_MADE).read_text(encoding="utf-8"))["made_from"]["argv"])
    except (OSError, ValueError, LookupError, TypeError):
        return ()


@cache
def _onnx_reader() -> Any:  # noqa: ANN401 (a guest's module)
    """Return the guests' reader of ONNX files, the same that says it inside a server; it needs no package."""
    name = "servebench_guest_onnx_file"
    spec = spec_from_file_location(name, shipped("handlers") / "onnx_file.py")
    assert spec is not None
    assert spec.loader is not None
    # dataclasses look their module up.
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
