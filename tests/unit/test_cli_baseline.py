"""``servebench baseline``: promote, show, list, drop."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pytest_servebench.cli import main
from tests.saved_records import repeats, save, saved_record


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current one, with a run that may be promoted."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "run.json", [*repeats(5), *repeats(5, stack="triton")], run_id="abc")
    return tmp_path


def baseline(*words: str, code: int = 0) -> str:
    """Return what the command prints."""
    done = CliRunner().invoke(main, ["baseline", *words])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def test_a_run_is_promoted_with_its_fingerprint(here: Path) -> None:
    """What was made, where it lies, where it is from and on what it was measured."""
    text = baseline("promote", "run.json")
    assert text.startswith("promoted: main (promoted 20")
    assert "5 repeats, 2 cases)\n" in text
    assert "file: .servebench/baselines/main.json (" in text
    assert "from: run.json, measured 2026-11-20T08:00:00+00:00, run abc\n" in text
    for line in ("cpu: Abacus 2000", "cores: 8", "launcher: process", "weights: seeded-random:0"):
        assert f"{line}\n" in text
    assert (here / ".servebench" / "baselines" / "main.json").is_file()


def test_a_promotion_over_another_is_asked_for_and_told() -> None:
    """The ratchet trap: a worse run does not quietly become what others are compared with."""
    baseline("promote", "run.json")
    text = baseline("promote", "run.json", code=2)
    assert "there is a baseline main already" in text
    assert "seen: main (promoted 20" in text
    assert "--replace" in text
    text = baseline("promote", "run.json", "--replace")
    assert "replaces: main (promoted 20" in text
    assert "replaces" not in baseline("promote", "run.json", "--as", "other", "--replace")


def test_a_run_that_should_not_judge_others_needs_force(here: Path) -> None:
    """What is wrong with it is named, case by case, and named again when it is taken all the same."""
    records = repeats(5)
    records[2] |= {"validity": "unstable", "reason": "it drifts"}
    save(here / "bad.json", [*records, saved_record(stack="triton")])
    text = baseline("promote", "bad.json", code=2)
    assert "this run should not judge others" in text
    assert "repeat 3 of 5 is unstable: it drifts" in text
    assert "1 of 2 cases have 1 repeat, with which no change is significant" in text
    assert baseline("list").startswith("no baselines in .servebench/baselines; promote a saved run: ")
    text = baseline("promote", "bad.json", "--force")
    assert "warning: " in text
    assert "repeat 3 of 5 is unstable" in text
    assert "promoted: main (promoted 20" in text


def test_several_runs_are_taken_together(here: Path) -> None:
    """Five runs of one repeat are five repeats."""
    for number in range(5):
        save(here / "runs" / f"{number}.json", [saved_record()])
    assert "5 repeats, 1 case)" in baseline("promote", *(f"runs/{number}.json" for number in range(5)))
    assert "5 repeats, 1 case)" in baseline("promote", "runs", "--replace")


def test_show_list_and_drop() -> None:
    """Figures are medians over the repeats; a broken file is listed as such."""
    baseline("promote", "run.json")
    text = baseline("show")
    assert "from: run.json" in text
    (line,) = [each for each in text.splitlines() if "[fastapi" in each]
    assert line.startswith(
        "bench/test_it.py::test_speed[fastapi-onnx-tensor-http-b8-i1-c16]: p50 5.665 ms, p95 "
    )
    assert line.endswith("5 repeats")
    Path(".servebench/baselines/broken.json").write_text("{", encoding="utf-8")
    lines = baseline("list").splitlines()
    assert lines[0].startswith("broken (this baseline is broken: ")
    assert lines[1].startswith("main (promoted 20")
    assert baseline("drop", "main") == "dropped: .servebench/baselines/main.json\n"
    assert "there is no baseline 'main'" in baseline("show", code=2)
    refused = baseline("drop", "main", code=2)
    assert "there is no baseline 'main'" in refused
    assert "promote" not in refused.split("next: ")[1], "who wants to drop one does not want to make it"


def test_another_folder_is_given_by_dir(here: Path) -> None:
    """Every command takes it."""
    baseline("promote", "run.json", "--dir", "kept")
    assert (here / "kept" / "main.json").is_file()
    assert "main (promoted" in baseline("list", "--dir", "kept")
    assert "no baselines" in baseline("list")
    baseline("show", "main", "--dir", "kept")
    baseline("drop", "main", "--dir", "kept")


@pytest.mark.parametrize("name", ["../main", "a/b", "none"])
def test_a_name_that_leads_elsewhere_is_refused(here: Path, name: str) -> None:
    """No command writes or reads outside of the folder."""
    for words in (("promote", "run.json", "--as", name), ("show", name), ("drop", name)):
        assert "is no name of a baseline" in baseline(*words, code=2)
    assert [path.name for path in here.iterdir()] == ["run.json"]
