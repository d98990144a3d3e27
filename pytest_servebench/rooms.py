"""What a case needs from the rest of the house, each as something to call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pytest_servebench.held import NOT_OURS, Held
from pytest_servebench.interfaces import Clock, Driver, Stack
from pytest_servebench.plan import (
    Artifact,
    Case,
    Deployment,
    Image,
    Load,
    WireRequest,
)
from pytest_servebench.results import (
    NO_CEILING,
    NO_RAW,
    Ceiling,
    Endpoint,
    Progress,
    RawBaseline,
    Telemetry,
)
from pytest_servebench.samples import Reply


class Readings(Protocol):
    """What reads beside a load."""

    @property
    def progress(self) -> Callable[[Progress], None]:
        """Be told how far the load is, in the thread that sends: it has to be quick."""

    @property
    def over(self) -> Callable[[tuple[int, int]], Telemetry]:
        """Return what was read over a window that has just ended, its edges in nanoseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """Everything a case needs from the rest of the house."""

    stacks: Mapping[str, Stack]
    driver: Driver
    clock: Clock
    artifact: Callable[[Deployment], Artifact]
    images: Callable[[Case, int], tuple[Image, ...]]
    """The case's image set, at least so many."""
    reference: Callable[[Case, Sequence[Image]], npt.NDArray[np.float32]]
    """Logits of the same model in process, [n, 1000]."""
    telemetry: Callable[[Endpoint, Deployment], AbstractContextManager[Readings]]
    """Readings beside the load that runs inside the context."""
    ceiling: Callable[[Sequence[WireRequest], Reply, Load], Ceiling] = lambda *_: NO_CEILING
    """What the client can send of such requests, answered like such a reply, under such a load."""
    raw: Callable[[Case, Endpoint], RawBaseline] = lambda *_: NO_RAW
    """What the case's model does in process, while its server at that endpoint idles."""
    held: Callable[[Path], Held] = lambda _: NOT_OURS
    """What a model file holds, as read from it."""
    starting: Callable[[Case], AbstractContextManager[float]]
    """Held while a case's server comes up and is verified: nothing is measured there meanwhile, but others
    may start too. Gives the seconds that it was waited for."""
    measuring: Callable[[Case], AbstractContextManager[float]]
    """Held from a case's ceiling and raw baseline to its last reply, alone. Gives the seconds that it was
    waited for."""
