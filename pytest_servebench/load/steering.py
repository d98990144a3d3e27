"""One decision for all workers when a stage ends, so that they measure the same window."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_servebench.load.helm import Helm
from pytest_servebench.load.stage_helm import helm_of
from pytest_servebench.load.window import Stage
from pytest_servebench.plan import Load
from pytest_servebench.samples import Slice
from pytest_servebench.statistics.slices import side_by_side

STEPS_AHEAD = 2
"""Slices between a decision and the edge that it names: within them every worker asks for it once."""


def stages_steered(load: Load, helm: Helm | None) -> tuple[str, ...]:
    """Return the stages that somebody may end before their time, of which slices have to be told."""
    warm_up = (Stage.WARM_UP.value,) if load.steady or helm is not None else ()
    early = load.precision is not None or load.abort_after_s is not None or helm is not None
    return (*warm_up, Stage.MEASURING.value) if early else warm_up


class Steering:
    """Lays the workers' time lines side by side and asks a helm, as one client would ask it."""

    def __init__(self, load: Load, workers: int, helm: Helm | None = None) -> None:
        self.stage = Stage.WARM_UP
        """The stage whose end is not decided yet; draining: there is none."""
        self._helm = helm_of(load) if helm is None else helm
        self._lines: list[list[Slice]] = [[] for _ in range(workers)]
        self._asked = 0

    def hear(self, worker: int, stage: Stage, slices: Sequence[Slice], *, whole: bool) -> None:
        """Take in one worker's new slices, in this process's clock; ``whole``: they are all of its stage."""
        if stage is Stage.MEASURING and self.stage is Stage.WARM_UP:
            self._go_over()  # the warm-up came to its limit
        if stage is self.stage:
            line = self._lines[worker]
            line[:] = slices if whole else [*line, *slices]

    def edge_ns(self, now_ns: int, lead_ns: int) -> int | None:
        """Return the instant, far enough ahead for all to hear of it, at which the stage ends; None: not yet.

        To be called after `hear`; asks the helm when every worker has told of another slice.
        """
        known = min(len(line) for line in self._lines)
        if self.stage is Stage.DRAINING or known == self._asked or not known:
            return None
        self._asked = known
        together = side_by_side(self._lines)
        ask = self._helm.warmed_up if self.stage is Stage.WARM_UP else self._helm.enough
        decided_ns = ask(together, now_ns)
        if decided_ns is None:
            return None
        step_ns = together[-1].end_ns - together[-1].begin_ns
        latest_ns = max(line[-1].end_ns for line in self._lines)
        self._go_over()
        return max(decided_ns, now_ns + lead_ns, latest_ns + STEPS_AHEAD * step_ns)

    def _go_over(self) -> None:
        self.stage = Stage.MEASURING if self.stage is Stage.WARM_UP else Stage.DRAINING
        self._asked = 0
        for line in self._lines:
            line.clear()
