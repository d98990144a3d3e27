"""What CI takes for a run in containers that went well."""

from __future__ import annotations

import json
import runpy
from itertools import product
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci/containers.py"


def run(tmp_path: Path, records: list[dict[str, Any]]) -> int:
    """Return the exit code for a saved run."""
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps({"servebench": {"records": records}}), encoding="utf-8")
    code: int = runpy.run_path(str(SCRIPT))["main"](saved)
    return code


@pytest.fixture
def records() -> list[dict[str, Any]]:
    """Return what a good run saves."""
    rows = product(("fastapi", "torchserve", "triton"), ("onnx", "pytorch"))
    return [
        {
            "case": {"stack": stack, "format": model_format},
            "launcher": "docker",
            "container": {"id": f"of {stack}"},
            "benchmark": "test_throughput",
            "test": f"test_throughput[{stack}]",
            "validity": "valid",
            "reason": "",
        }
        for stack, model_format in rows
    ]


def test_a_good_run_passes(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    """All were measured, each stack in a container of its own; a slow machine may leave one unsure."""
    assert run(tmp_path, records) == 0
    records[0]["validity"] = "undecided"
    assert run(tmp_path, records) == 0


@pytest.mark.parametrize("validity", ["errors", "wrong_output"])
def test_a_wrong_record_fails(
    tmp_path: Path, records: list[dict[str, Any]], validity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that answers wrongly, or not, is not well because it ran in a container."""
    records[1] |= {"validity": validity, "reason": "broken"}
    assert run(tmp_path, records) == 1
    assert f"test_throughput[fastapi] is {validity}: broken" in capsys.readouterr().out


def test_a_missing_record_fails(
    tmp_path: Path, records: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """What was not measured is named."""
    assert run(tmp_path, records[1:]) == 1
    assert "not measured: fastapi onnx test_throughput" in capsys.readouterr().out


def test_a_shared_container_fails(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    """Each stack has a container of its own, and none is a local process."""
    shared = [{**one, "container": {"id": "one"}} for one in records]
    assert run(tmp_path, shared) == 1
    assert run(tmp_path, [{**one, "launcher": "process"} for one in records]) == 1
