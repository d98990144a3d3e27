"""The benchmark of the samplers: a real server, a load in turns, and the price of each sampler."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.telemetry import __main__ as program
from benchmarks.telemetry import measuring
from benchmarks.telemetry.measuring import Turn, ratios_of, shares_of, total_of
from tests.echo_stack import Echo, furnish

pytestmark = pytest.mark.live

SAMPLERS = {"cpu", "memory", "client", "client-survey", "machine"}


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have the stack of tests be measured in the place of real ones, with models that cost nothing."""
    ending: list[Any] = []
    furnish(SimpleNamespace(add_cleanup=ending.append))  # type: ignore[arg-type]
    monkeypatch.setattr(measuring, "built_in_stacks", lambda: (Echo(),))
    monkeypatch.setattr(program, "prepare_stand_in", lambda _folder: "not in this process")
    yield
    for end in ending:
        end()


def test_every_sampler_has_its_price(echo: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that run beside a load are in the table, and the exit code says whether they hold the aim."""
    saved = tmp_path / "out.json"
    words = ["--stack=echo", "--rounds=2", "--window=0.5", "--settle=0.1", f"--json={saved}"]
    code = program.main(words)
    (found, *_) = json.loads(saved.read_text(encoding="utf-8"))
    assert set(found["shares"]) == SAMPLERS
    assert all(share >= 0 for share in found["shares"].values())
    assert found["total_share"] > 0
    assert len(found["throughput_ratios"]) == 2
    assert (code == 0) == (found["total_share"] < program.AIM_SHARE)
    printed = capsys.readouterr().out
    assert "together" in printed
    assert "throughput with sampling by without, 2 pairs" in printed


def test_a_server_that_does_not_come_up_is_told(
    echo: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence and exit code 1, no traceback."""
    monkeypatch.setattr(measuring, "built_in_stacks", lambda: (Echo(deadline_s=0.0),))
    assert program.main(["--stack=echo", "--rounds=1"]) == 1
    assert "echo" in capsys.readouterr().err


def test_prices_are_shares_of_a_core_by_turn() -> None:
    """A median over turns; the sum is taken within each turn; a ratio is one of neighbours."""

    def pair(cpu_s: float, more_s: float, images_per_s: float) -> tuple[Turn, Turn]:
        sampled = Turn(images_per_s=images_per_s, run_s=2.0, cpu_s={"cpu": cpu_s, "gpu": more_s})
        return sampled, Turn(images_per_s=100.0, run_s=2.0, cpu_s={})

    pairs = [pair(0.02, 0.002, 99.0), pair(0.01, 0.003, 101.0), pair(0.03, 0.001, 98.0)]
    assert shares_of(pairs) == {"cpu": pytest.approx(0.01), "gpu": pytest.approx(0.001)}
    assert total_of(pairs) == pytest.approx(0.011)
    assert ratios_of(pairs) == pytest.approx([0.99, 1.01, 0.98])
