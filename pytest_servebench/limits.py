"""The limits of one session: those of the file that was asked for, else of the one beside each benchmark."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pytest_servebench.options.door import read_thresholds
from pytest_servebench.options.placement import Surroundings, hardware_of
from pytest_servebench.plan import Case, Plan, Threshold
from pytest_servebench.thresholds import ThresholdsFile, thresholds_for, why_ungated
from pytest_servebench.words import listed

THRESHOLDS_NAME = "thresholds.toml"
NOWHERE = (
    f"no absolute limits: no {THRESHOLDS_NAME} lies beside the benchmark, and none was given with "
    "--serve-thresholds"
)


class Limits:
    """Reads each file once; raises `PlanError` for one that cannot be understood."""

    def __init__(self, plan: Plan, surroundings: Surroundings) -> None:
        self._plan = plan
        self._surroundings = surroundings
        self._files: dict[Path, ThresholdsFile] = {}
        if plan.thresholds_path is not None:
            self.read_beside(plan.thresholds_path.parent)

    def read_beside(self, folder: Path) -> ThresholdsFile | None:
        """Return the limits of the benchmarks in ``folder``; None when there are none."""
        path = self._plan.thresholds_path or folder / THRESHOLDS_NAME
        if path not in self._files and path.is_file():
            self._files[path] = read_thresholds(path)
        return self._files.get(path)

    def of(self, case: Case, folder: Path) -> tuple[list[Threshold], str]:
        """Return the limits of ``case`` in a benchmark of ``folder``, and why there are none or nothing."""
        file = self.read_beside(folder)
        if file is None:
            return [], NOWHERE
        hardware = hardware_of(self._plan, case.stack, self._surroundings)
        found = list(thresholds_for(file, case, hardware))
        return found, "" if found else why_ungated(file, case, hardware)

    def notes(self, offered: Collection[str]) -> list[str]:
        """Return a line for each file that has limits for stacks that nobody offers."""
        strange = {file.name: file.stacks_not_in(offered) for file in self._files.values()}
        return [
            f"note: {name} has limits for stacks that nobody offers: {listed(stacks)}"
            for name, stacks in strange.items()
            if stacks
        ]
