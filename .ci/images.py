"""Builds the images of all stacks for the CPU, as the tests and the suite will want them.

The environment says what from: SERVEBENCH_TEST_BASE and SERVEBENCH_TEST_WHEELS.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

from pytest_servebench.clock import MonotonicClock
from pytest_servebench.containers import ImageChoice
from pytest_servebench.launchers.docker.engine import open_engine
from pytest_servebench.launchers.docker.images import have_image
from pytest_servebench.plan import CPU
from pytest_servebench.stacks.images import engine_image

IMAGES = ("fastapi", "torchserve", "triton-cpu")
"""As they are called in ``deploy/``."""


def main() -> int:
    """Build one after the other; raises `LaunchError` with what the engine said."""
    wheels = Path(os.environ["SERVEBENCH_TEST_WHEELS"])
    choice = ImageChoice(base=os.environ["SERVEBENCH_TEST_BASE"], wheels_path=wheels)
    clock = MonotonicClock()
    with closing(open_engine(os.environ, "CI")) as engine:
        for name in IMAGES:
            began_ns = clock.now_ns()
            made = have_image(engine, engine_image(name, choice, CPU), lambda *_: None)
            print(f"{made.name} after {(clock.now_ns() - began_ns) / 1e9:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
