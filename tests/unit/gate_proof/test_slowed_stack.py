"""The stack of the proof is launched as the shipped one, by another application."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gate.slowed import SERVER, SlowedFastapi
from pytest_servebench.plan import Artifact, Deployment, ModelFormat
from pytest_servebench.stacks.fastapi import Fastapi

DEPLOYMENT = Deployment(stack="fastapi", model="tiny", format=ModelFormat.ONNX)
ARTIFACT = Artifact(
    model="tiny",
    format=ModelFormat.ONNX,
    path=Path("m.onnx"),
    card_path=Path("c.json"),
    labels_path=Path("l.json"),
    sha256="0",
    weights="none",
)


def test_only_the_application_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model, settings, readiness and the shipped handlers are those of the stack that users measure."""
    monkeypatch.setenv("PYTHONPATH", "/my $modules")
    artifacts = {DEPLOYMENT.served_name: ARTIFACT}
    shipped = Fastapi().launch_spec([DEPLOYMENT], artifacts)
    slowed = SlowedFastapi(sleeps=0.1).launch_spec([DEPLOYMENT], artifacts)
    assert "slow_app:create_app" in slowed.argv
    assert (SERVER / "slow_app.py").is_file()
    argv = tuple("fastapi_app.app:create_app" if "slow_app" in word else word for word in slowed.argv)
    added = {key: slowed.environment[key] for key in ("PYTHONPATH", "GATE_SLEEPS")}
    assert added == {"PYTHONPATH": f"{SERVER}:/my $$modules", "GATE_SLEEPS": "0.1"}
    rest = {key: value for key, value in slowed.environment.items() if key not in added}
    assert replace(slowed, argv=argv, environment=rest) == shipped


def test_both_sides_are_the_same_case() -> None:
    """The gate must not tell them apart by anything but their figures."""
    assert SlowedFastapi(sleeps=0.2).name == Fastapi().name
    assert SlowedFastapi(sleeps=0.2).backend(DEPLOYMENT) == Fastapi().backend(DEPLOYMENT)
