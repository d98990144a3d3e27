"""Runs every test, in four groups one after the other; `GROUPS` says which is in which, and why.

Usage: python -m tests [--group=computing,paired,sleepy,alone] [--again] [ARGUMENTS FOR PYTEST]
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest


@dataclass(frozen=True)
class Group:
    """Tests that are run alike."""

    name: str
    why: str
    options: tuple[str, ...]
    """What pytest is told besides the paths."""
    paths: tuple[str, ...] = ()
    """Folders and files; none: all that no other group names, so also a file that is new."""


COMPUTING = Group(
    name="computing",
    why="right however busy the machine is, and it has no more to do than to compute",
    # By file: what the tests of a file share is made once.
    options=("-n", "logical", "--maxprocesses=8", "--dist=loadfile"),
    paths=(
        "tests/unit",
        "tests/contract/test_cuda_memory.py",
        "tests/contract/test_stacks.py",
        "tests/contract/test_stacks_in_containers.py",
        "tests/contract/test_stacks_sharing.py",
        "tests/contract/test_stacks_wire.py",
        "tests/plugin/test_arrivals_chosen.py",
        "tests/plugin/test_docs_plans.py",
        "tests/plugin/test_engine_needed.py",
        "tests/plugin/test_entries.py",
        "tests/plugin/test_gate_stock_rule.py",
        "tests/plugin/test_plugin_options.py",
        "tests/plugin/test_recording.py",
        "tests/plugin/test_recording_stock.py",
    ),
)
OF_THE_ENGINE = (
    "tests/live/test_docker_leftovers.py",
    "tests/live/test_docker_launcher.py",
    "tests/live/test_docker_memory.py",
    "tests/live/test_docker_stacks.py",
    "tests/live/test_servebench_up.py",
    "tests/live/test_docker_engine.py",
    "tests/live/test_docker_preparing.py",
    "tests/live/test_container_telemetry.py",
    "tests/contract/test_launchers.py",
)
"""Those that count what a Docker engine holds: one worker runs all of them, so one at a time."""
TEST_BY_TEST = (
    "tests/live/test_docs_examples.py",
    "tests/live/test_docs_walk.py",
    "tests/live/test_recipes_run.py",
)
"""Those whose tests are long and share nothing: any worker runs any of them."""
IN_ORDER = ("-p", "tests.together", "--no-loadscope-reorder")
"""What takes long stands first below, so that no worker has to wait for another at the end."""
PAIRED = Group(
    name="paired",
    why="real servers and real loads, whose figures nobody compares: that a case is valid, what is said and "
    "in which order is right as long as each of two tests has a core. They wait more than they compute",
    options=("-n", "2", *IN_ORDER, "--durations=15"),
    paths=(
        *OF_THE_ENGINE,
        "tests/live/test_docs_examples.py",
        "tests/live/test_docs_walk.py",
        "tests/live/test_leaves_nothing.py",
        "tests/live/test_torchserve_server.py",
        "tests/plugin/test_suite.py",
        "tests/plugin/test_parallel_runs.py",
        "tests/live/test_report_page.py",
        "tests/contract/test_raw_baseline_program.py",
        "tests/plugin/test_repeats.py",
        "tests/live/test_prometheus.py",
        "tests/live/test_several_gpus_served.py",
        "tests/live/test_fastapi_endings.py",
        "tests/live/test_triton_server.py",
        "tests/live/test_gate_benchmark.py",
        "tests/plugin/test_capacity_chosen.py",
        "tests/live/test_server_fixtures.py",
        "tests/contract/test_driver_exchange.py",
        "tests/contract/test_null_server_program.py",
        "tests/live/test_curl_lines.py",
        "tests/live/test_doctor.py",
        "tests/live/test_fastapi_pixels.py",
        "tests/live/test_fastapi_server.py",
        "tests/live/test_fastapi_tritonclient.py",
        "tests/live/test_k6_endings.py",
        "tests/live/test_k6_script.py",
        "tests/live/test_pixels.py",
        "tests/live/test_process_launcher.py",
        "tests/live/test_process_owner.py",
        "tests/live/test_process_ports.py",
        "tests/live/test_stacks_tell.py",
        "tests/live/test_triton_pixels.py",
        "tests/live/test_workers_on_hosts.py",
        "tests/plugin/test_docker_unused.py",
        "tests/plugin/test_findings_asked.py",
        "tests/plugin/test_gpu_telemetry.py",
        "tests/plugin/test_k6_suite.py",
        "tests/plugin/test_load_profile.py",
        "tests/plugin/test_monitoring.py",
        "tests/plugin/test_nothing_unseen.py",
        "tests/plugin/test_onlookers.py",
        "tests/plugin/test_precision_chosen.py",
        "tests/plugin/test_session_report.py",
        "tests/plugin/test_several_gpus.py",
        "tests/plugin/test_wrong_backend.py",
    ),
)
SLEEPY = Group(
    name="sleepy",
    why="servers that sleep for most of a reply, so that even figures can be compared while others are "
    "measured: what there is to compute beside a window is the start of processes",
    options=("-n", "3", *IN_ORDER, "--durations=15"),
    paths=(
        "tests/live/test_docs_walk_judged.py",
        "tests/plugin/test_gating.py",
        "tests/live/test_recipes_run.py",
        "tests/plugin/test_faults.py",
        "tests/plugin/test_serving_efficiency.py",
        "tests/plugin/test_saved_runs_compared.py",
        "tests/contract/test_workers.py",
        "tests/contract/test_grpc_faults.py",
        "tests/contract/test_grpc_driver.py",
        "tests/plugin/test_load_workers.py",
    ),
)
ALONE = Group(
    name="alone",
    why="compares figures of what computes, holds clocks against each other, counts what the whole machine "
    "holds (regions of shared memory), or has not been looked at yet: one test at a time",
    options=("--durations=25",),
)
GROUPS = (COMPUTING, PAIRED, SLEEPY, ALONE)


def command(group: Group, arguments: Sequence[str]) -> list[str]:
    """Return the run of pytest for a group; ``arguments`` are for all of them."""
    others = (f"--ignore={path}" for other in GROUPS if other is not group for path in other.paths)
    paths = group.paths or ("tests", *others)
    return [sys.executable, "-m", "pytest", *paths, *group.options, *arguments]


def again(group: Group, arguments: Sequence[str]) -> list[str]:
    """Return the run of those tests of a group that have failed, one at a time and each by its name."""
    last = ("--last-failed", "--last-failed-no-failures=none", "-v")
    return command(replace(group, options=last), arguments)


def of_both(first: int, second: int) -> int:
    """Return the word for a group whose failed tests were run again; none found again leaves it red."""
    return first if second == pytest.ExitCode.NO_TESTS_COLLECTED else second


def verdict(exit_codes: Sequence[int]) -> int:
    """Return the first that is not good; a run that holds none of the tests asked for says nothing."""
    nothing = int(pytest.ExitCode.NO_TESTS_COLLECTED)
    told = [code for code in exit_codes if code != nothing]
    return next(filter(None, told), 0) if told else nothing


def chosen(arguments: Sequence[str]) -> tuple[tuple[Group, ...], bool, list[str]]:
    """Return the groups that are asked for, in their order, whether to try again, and pytest's arguments."""
    names = [group.name for group in GROUPS]
    parser = argparse.ArgumentParser("python -m tests", add_help=False, allow_abbrev=False)
    parser.add_argument("--group", default=",".join(names))
    # For CI, where thousands of tests of threads and servers share two cores with whatever runs beside them.
    parser.add_argument("--again", action="store_true", help="what fails is run once more, alone, and told")
    known, others = parser.parse_known_args(arguments)
    asked = known.group.split(",")
    if unknown := set(asked) - set(names):
        parser.error(f"--group: {', '.join(sorted(unknown))}: allowed are {', '.join(names)}")
    return tuple(group for group in GROUPS if group.name in asked), known.again, others


def _exit_codes(arguments: Sequence[str]) -> Iterator[int]:
    groups, tries_again, others = chosen(arguments)
    for group in groups:
        print(f"\n{group.name} tests: {group.why}", flush=True)  # noqa: T201 (a program of its own)
        code = _exit_code(command(group, others))
        if tries_again and code == pytest.ExitCode.TESTS_FAILED:
            print(f"\n{group.name} tests that FAILED, once more, alone", flush=True)  # noqa: T201 (as above)
            code = of_both(code, _exit_code(again(group, others)))
        yield code
        if code == pytest.ExitCode.INTERRUPTED:
            return


def _exit_code(words: Sequence[str]) -> int:
    with subprocess.Popen(words) as run:
        # Ctrl-C reaches it as it reaches us, and it has servers to stop before it ends.
        signal.signal(signal.SIGINT, _let_it_end)
        signal.signal(signal.SIGTERM, lambda *_: run.terminate())
        return run.wait()


def _let_it_end(*_: Any) -> None: ...


if __name__ == "__main__":
    sys.exit(verdict(list(_exit_codes(sys.argv[1:]))))
