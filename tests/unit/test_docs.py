"""What the documentation shows is true: files are read, excerpts and links lead where they say."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import yaml

from pytest_servebench.cli import main
from pytest_servebench.containers import ImageChoice
from pytest_servebench.options.decoding import decoders_of
from pytest_servebench.options.door import given_in
from pytest_servebench.options.given import Given
from pytest_servebench.options.option import OPTIONS
from pytest_servebench.options.placement import Surroundings
from pytest_servebench.options.planning import plan_for
from pytest_servebench.plan import Device, ModelFormat, Payload
from pytest_servebench.record import make_record
from pytest_servebench.stacks import built_in_stacks
from pytest_servebench.stacks.fastapi import Fastapi
from pytest_servebench.stacks.torchserve import Torchserve
from pytest_servebench.stacks.triton import Triton
from pytest_servebench.thresholds import parse_thresholds
from pytest_servebench.toml_source import TomlSource
from tests.doc_blocks import PAGES, ROOT, Block, all_blocks, blocks_of
from tests.made_up import MACHINE, SETTINGS, made_up_result, wrong_result
from tests.offered_stack import THREE

CODE = ("console", "sh", "shell", "bash", "python", "toml", "yaml", "ini")
MARKS = ("run", "walk", "plan", "cuda", "servebench", "k6", "thresholds", "pyproject", "workflow")
REAL: tuple[Any, ...] = (Fastapi(), Triton(), Torchserve())
ANY_STACKS = {
    name: replace(
        stack,
        formats=frozenset(ModelFormat),
        payloads=frozenset(Payload),
        decoders=decoders_of(real),
        decoders_inside=decoders_of(real.in_container(ImageChoice(), Device("cuda"))),
    )
    for (name, stack), real in zip(THREE.items(), REAL, strict=True)
}
GPU_MACHINE = Surroundings(
    logical_cores=16,
    cuda_devices=("NVIDIA H200", "NVIDIA H200"),
    docker_engine="29.1",
    nvidia_runtime=True,
)
OF_CI = ("make bench", "make test", 'pip install "pytest-servebench[')
"""How commands begin that .ci/run runs, so that no test has to."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def each_block(mark: str) -> pytest.MarkDecorator:
    """Run a test for every block with a mark or a key of that name."""
    found = [block for block in all_blocks() if mark in block.words or block.given(mark)]
    return pytest.mark.parametrize("block", found, ids=str)


@each_page
def test_every_example_is_tested(page: Path) -> None:
    """A block of code says how it is tested; one that does not holds commands that CI runs."""
    for block in blocks_of(page):
        if block.language in CODE and not set(MARKS) & {*block.words}:
            tested = block.given("file") or block.given("excerpt")
            assert tested or _is_of_ci(block), f"{block}: say how this is tested, see tests/doc_blocks.py"


def _is_of_ci(block: Block) -> bool:
    lines = [line.removeprefix("$ ").strip() for line in block.body.splitlines()]
    return all(line.startswith(OF_CI) for line in lines if line)


@each_block("excerpt")
def test_an_excerpt_stands_in_its_file(block: Block) -> None:
    """What a page shows of an example is in the example, line for line."""
    whole = (ROOT / "docs" / block.given("excerpt")).read_text(encoding="utf-8")
    assert _flush(block.body) in _flush(whole), f"{block} is not in {block.given('excerpt')}"


def _flush(text: str) -> str:
    return "".join(f"{line.strip()}\n" for line in text.splitlines())


@each_block("thresholds")
def test_limits_on_a_page_are_limits(block: Block) -> None:
    """A thresholds file that a page shows is understood, and limits something."""
    assert parse_thresholds(block.body, str(block)).rows


@each_block("pyproject")
def test_settings_on_a_page_are_settings(block: Block) -> None:
    """A [tool.servebench] that a page shows makes a plan."""
    asked = given_in(TomlSource(block.body, str(block)), ROOT)
    plan = plan_for(asked, {stack.name: stack for stack in built_in_stacks()}, Surroundings(logical_cores=2))
    assert plan.stacks


@each_block("cuda")
def test_a_command_for_a_gpu_is_planned_on_one(block: Block) -> None:
    """What needs a GPU is planned on a machine that has two: options are right, and something is served."""
    by_flag = {option.flag: option.key for option in OPTIONS}
    assert block.commands
    for command in block.commands:
        program, *words = shlex.split(command)
        assert program == "pytest"
        pairs = [word.partition("=") for word in words if word.startswith("--")]
        asked = {
            by_flag[flag]: Given(flag=flag, text=text)
            for flag, _, text in pairs
            if not flag.startswith("--benchmark-")
        }
        assert plan_for(asked, ANY_STACKS, GPU_MACHINE).stacks, command


@each_block("servebench")
def test_a_command_on_a_page_is_one(block: Block) -> None:
    """Every line is understood by the command ``servebench``; what the commands do is tested live."""
    assert block.commands
    for command in block.commands:
        program, subcommand, *words = shlex.split(command)
        assert program == "servebench"
        named = main.get_command(click.Context(main), subcommand)
        assert named is not None, command
        named.make_context(subcommand, words)


@each_block("workflow")
def test_a_workflow_runs_what_its_page_runs(block: Block) -> None:
    """Every command of a CI job on a page is run on that page by a test, or by CI itself."""
    steps = [step for job in yaml.safe_load(block.body)["jobs"].values() for step in job["steps"]]
    run = {command for other in blocks_of(block.page) for command in other.commands}
    commands = [step["run"] for step in steps if "run" in step]
    assert commands
    assert not [command for command in commands if command not in run and not command.startswith(OF_CI)]


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file of this repository finds it, and the heading it names."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        if "://" in target:
            continue
        there = page.parent / path if path else page
        assert there.exists(), f"{page.name} links to {target}"
        if heading:
            assert heading in _headings(there), f"{page.name} links to {target}"


def _headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_gate_in_the_readme_is_the_pages() -> None:
    """What README shows of the gate stands on the page whose commands are run."""
    (shown,) = (block for block in blocks_of(ROOT / "README.md") if "servebench gate: " in block.body)
    page = (ROOT / "docs" / "gating-in-ci.md").read_text(encoding="utf-8").splitlines()
    lines = [line for line in shown.body.splitlines() if line not in ("", "...")]
    assert any(line.startswith("regression: ") for line in lines)
    assert not [line for line in lines if line not in page]


def test_saved_runs_are_merged_as_the_page_shows(tmp_path: Path) -> None:
    """The example adds the histograms of two saved files, and its p95 is that of all their requests."""
    times_ms = np.random.default_rng(0).lognormal(2, 0.5, 400)
    for number, part in enumerate((times_ms[:100], times_ms[100:])):
        record = make_record(made_up_result(part.tolist()), plan=SETTINGS, machine=MACHINE)
        wrong = make_record(wrong_result(), plan=SETTINGS, machine=MACHINE)
        text = json.dumps({"servebench": {"records": [record, wrong]}})
        (tmp_path / f"{number}.json").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "examples" / "merged_p95.py"), "0.json", "1.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    requests, p95 = done.stdout.splitlines()
    assert requests == "requests: 400"
    assert float(p95.split()[1]) == pytest.approx(np.percentile(times_ms, 95), rel=0.01)
