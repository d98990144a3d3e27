"""``python -m benchmarks.gpu``: the whole proof on a GPU, from doctor to report, in a bounded time."""

from __future__ import annotations

import argparse
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.gpu.steps import MINUTES, Step, Wish, report_step, steps_of
from pytest_servebench.checkup import Outcome
from pytest_servebench.doctor.judging import checkup_of
from pytest_servebench.doctor.look import look
from pytest_servebench.doctor.serving import Question
from pytest_servebench.folders.shipped import shipped
from pytest_servebench.plan import CPU
from pytest_servebench.stacks import built_in_stacks
from pytest_servebench.telemetry.gpu_devices import gpu_names, visible_devices

RESULTS = Path("results")
ENDED = "ended: its time was up"
_TO_WRITE_S = 120.0
"""How long a session that is interrupted may take to end its servers and to write its records."""


def main(words: Sequence[str] | None = None) -> int:
    """Measure and report; return 1 where no GPU can be used, or a step went wrong."""
    asked = _parser().parse_args(words)
    outcome = outcome_here(asked.stack, asked.launcher, asked.device)
    if not outcome.can_run:
        sys.stderr.write(refusal(outcome))
        return 1
    wish = Wish(
        folder=RESULTS / (asked.name or _name_of(asked.device)),
        benchmarks=_short(shipped("benchmarks")),
        launcher=asked.launcher,
        device=asked.device,
        stack=asked.stack,
        minutes=asked.minutes,
        quick=asked.quick,
    )
    return prove(wish, run_step)


def prove(wish: Wish, run: Callable[[Step], str]) -> int:
    """Run every step, also after one that is red; ``run`` says how one ended, empty for well."""
    wish.folder.mkdir(parents=True, exist_ok=True)
    log, ends = wish.folder / "commands.txt", []
    log.write_text("", encoding="utf-8")

    def take(step: Step) -> None:
        line = shlex.join(("python", "-m", *step.words))
        sys.stdout.write(f"\n$ {line}\n")
        sys.stdout.flush()
        ends.append(run(step))
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {line}\n# {ends[-1] or 'well'}\n")

    steps = tuple(steps_of(wish))
    for step in steps:
        take(step)
    records = tuple(step.record for step in steps if step.record is not None and step.record.exists())
    if records:
        take(report_step(wish, records))
    sys.stdout.write(f"\nrecords, report and commands: {wish.folder}\n")
    return int(any(ends) or not records)


def run_step(step: Step) -> str:
    """Run one step in a process of its own; one that takes too long is interrupted, and keeps its records."""
    with subprocess.Popen([sys.executable, "-m", *step.words]) as process:
        try:
            code = process.wait(step.limit_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_TO_WRITE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            return ENDED
    return f"exit {code}" if code else ""


def outcome_here(stack: str, launcher: str, device: str) -> Outcome:
    """Return what the doctor says of this machine."""
    offered = {each.name: each for each in built_in_stacks()}
    question = Question(stack=stack, launcher=launcher, device=device)
    return checkup_of(question, look(offered, noise=False), offered).outcome


def refusal(outcome: Outcome) -> str:
    """Return why nothing can be proved on this machine, and what mends it."""
    why = "".join(f"  {line}\n" for line in outcome.why_not.splitlines())
    mend = "".join(f"  mend: {line}\n" for line in outcome.remedy.splitlines())
    return f"no GPU can be measured here; nothing was started, nothing is written:\n{why}{mend}"


def _name_of(device: str) -> str:
    """Return a folder's name for what computes: ``nvidia-h200`` of the first GPU, or ``cpu``."""
    if device == CPU.kind:
        return CPU.kind
    names = gpu_names(visible=visible_devices()).names
    return re.sub(r"[^a-z0-9]+", "-", names[0].lower()).strip("-") if names else "gpu"


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _parser() -> argparse.ArgumentParser:
    whole = Wish(folder=RESULTS, benchmarks=RESULTS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--name", default="", help="folder of results/; default: that of the GPU")
    parser.add_argument("--stack", default=whole.stack, help=f"as pytest's --stack ({whole.stack})")
    parser.add_argument("--launcher", default=whole.launcher, choices=("process", "docker"))
    parser.add_argument("--device", default=whole.device, help=f"as --serve-device ({whole.device})")
    parser.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        help=f"for all steps together ({MINUTES}); a step whose share is up is ended, its records are kept",
    )
    parser.add_argument("--quick", action="store_true", help="short windows, for a first look")
    return parser


if __name__ == "__main__":
    sys.exit(main())
