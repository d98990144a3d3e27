"""The proof of the gate runs on real servers; what it finds there is not for a busy machine to say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.gate.__main__ import main
from benchmarks.gate.replicates import Replicates
from benchmarks.gate.schedule import SIDES, SLOWED, turns
from pytest_servebench import session
from pytest_servebench.plan import Artifact

pytestmark = pytest.mark.live
SHORT = ("--blocks=1", "--repeats=1", "--window=0.3", "--warmup=0.1")


def test_servers_take_turns_and_are_judged(
    tmp_path: Path,
    artifacts: dict[str, Artifact],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One replicate of each side: too few, said openly, so that no goal is met; nothing is measured twice."""
    monkeypatch.setattr(session, "artifact", lambda *_, **_kind: artifacts["tiny_onnx"])
    words = ("measure", str(tmp_path / "kept"), *SHORT, f"--json={tmp_path / 'summary.json'}")
    assert main(words) == 1
    found = Replicates(tmp_path / "kept").read()
    assert list(found) == list(turns(1, 1))
    assert {each.record["validity"] for each in found.values()} <= {"valid", "unstable", "client_limited"}
    assert all(each.times_s for each in found.values())
    counted = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["gate"]
    assert [counted[kind]["inconclusive"] for kind in ("A/A", *list(SIDES[SLOWED])[1:])] == [2, 1, 1, 1]
    assert "MISSED" in capsys.readouterr().out
    assert main(words) == 2
    assert "--resume" in capsys.readouterr().err
    assert main((*words, "--resume")) == 1
    again = Replicates(tmp_path / "kept").path.read_text(encoding="utf-8")
    assert len(again.splitlines()) == len(found)
    assert main(("judge", str(tmp_path / "kept"))) == 1
    assert "service time obtained" in capsys.readouterr().out
