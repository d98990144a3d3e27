"""The proof on a GPU: its commands are ones, it ends in time; without a GPU it says so, starting nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as program
from benchmarks.gpu.steps import MINUTES, Step, Wish, report_step, steps_of
from pytest_servebench.checkup import Outcome
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.options.option import OPTIONS
from pytest_servebench.plan import Payload, Precision
from pytest_servebench.telemetry.gpu_survey import survey_gpus
from tests.doc_blocks import ROOT

WISH = Wish(folder=Path("results/h200"), benchmarks=shipped("benchmarks"))


def given(step: Step, flag: str) -> str:
    """Return the value of an option of a step."""
    return next(word.partition("=")[2] for word in step.words if word.startswith(f"{flag}="))


def test_every_command_is_one() -> None:
    """Files are there, options are ours or pytest-benchmark's, words are those of the vocabularies."""
    flags = {option.flag for option in OPTIONS}
    for step in steps_of(WISH):
        options = [word.partition("=")[0] for word in step.words if word.startswith("--")]
        assert {one for one in options if not one.startswith("--benchmark-")} <= flags
        files = [word for word in step.words if word.endswith(".py")]
        assert files
        assert all(Path(file).is_file() for file in files)
        assert {Precision(word) for word in given(step, "--serve-dtype").split(",")} == {
            Precision.FP32,
            Precision.TF32,
            Precision.FP16,
        }
        assert given(step, "--serve-device") == "cuda"


def test_it_measures_every_payload_and_batch_and_asks_for_agreement() -> None:
    """Tensors, pixels and shared memory at batches of 1, 8 and 32, each into records of its own."""
    *measured, parity = steps_of(WISH)
    assert [given(step, "--serve-payload") for step in measured] == [
        Payload.TENSOR,
        Payload.UINT8,
        Payload.SHM,
    ]
    assert {given(step, "--serve-batch-size") for step in measured} == {"1,8,32"}
    assert parity.words[1].endswith("test_parity.py")
    assert len({step.record for step in (*measured, parity)}) == 4


def test_it_is_bounded_in_time() -> None:
    """All steps together take no longer than was allowed."""
    assert sum(step.limit_s for step in steps_of(WISH)) == pytest.approx(60 * MINUTES)
    short = Wish(folder=WISH.folder, benchmarks=WISH.benchmarks, minutes=10, quick=True)
    assert sum(step.limit_s for step in steps_of(short)) == pytest.approx(600)
    assert all("--serve-quick" in step.words for step in steps_of(short))


def test_a_step_that_went_wrong_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was saved is reported, every command stands in a file with its end, and the exit code is 1."""
    wish = Wish(folder=tmp_path / "h200", benchmarks=WISH.benchmarks)
    taken: list[Step] = []

    def run(step: Step) -> str:
        taken.append(step)
        if step.record is not None and step.name != "shm":
            step.record.write_text("{}", encoding="utf-8")
        return program.ENDED if step.name == "shm" else ""

    assert program.prove(wish, run) == 1
    assert [step.name for step in taken] == ["tensor", "uint8", "shm", "parity", "report"]
    saved = tuple(wish.folder / f"{name}.json" for name in ("tensor", "uint8", "parity"))
    assert taken[-1] == report_step(wish, saved)
    lines = (wish.folder / "commands.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("# ")] == [
        "# well",
        "# well",
        f"# {program.ENDED}",
        "# well",
        "# well",
    ]
    assert f"records, report and commands: {wish.folder}" in capsys.readouterr().out


def test_nothing_saved_is_no_proof(tmp_path: Path) -> None:
    """Without a record there is no report, whatever the exit codes were."""
    wish = Wish(folder=tmp_path / "h200", benchmarks=WISH.benchmarks)
    assert program.prove(wish, lambda _: "") == 1
    assert "report" not in (wish.folder / "commands.txt").read_text(encoding="utf-8")


def test_a_step_that_takes_too_long_is_ended_and_may_write() -> None:
    """It is interrupted as by Ctrl-C, on which a session writes its records."""
    late = Step(
        name="late", words=("timeit", "-n", "1", "-r", "1", "import time; time.sleep(60)"), limit_s=0.1
    )
    assert program.run_step(late) == program.ENDED
    assert program.run_step(Step(name="red", words=("no_such_module",), limit_s=60)) == "exit 1"


def test_a_refusal_says_what_mends_it() -> None:
    """Each reason and each remedy has its line."""
    outcome = Outcome(asked={}, why_not="no driver\nno cuDNN", remedy="apt-get\npip", command="pytest")
    assert program.refusal(outcome).splitlines()[1:] == [
        "  no driver",
        "  no cuDNN",
        "  mend: apt-get",
        "  mend: pip",
    ]


@pytest.mark.skipif(bool(survey_gpus().gpus), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_and_starts_nothing(tmp_path: Path) -> None:
    """A real call on a machine like this one: words, exit code 1, no file."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks.gpu"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("no GPU can be measured here; nothing was started, nothing is written:\n")
    assert "no GPU can be used" in done.stderr
    assert "mend: " in done.stderr
    assert list(tmp_path.iterdir()) == []
