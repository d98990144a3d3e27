"""What the documentation tells a user to type does what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doc_blocks import PAGES, ROOT, Block, blocks_of
from tests.doc_commands import complaint_of, run, user_folder

pytestmark = pytest.mark.live

SHORT = "-p no:cacheprovider --serve-duration=2s --serve-warmup=300ms"
SMALL = "--serve-model=efficientnet_lite0"
"""A third of ResNet50's work for an image: starts are quicker, and as long a window holds more requests."""
RUNNABLE = [page for page in PAGES if any("run" in block.words for block in blocks_of(page))]
WEIGHTS = "my-resnet50.pth"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder as a user has it."""
    with user_folder() as path:
        yield path


def lay_out(page: Path, folder: Path) -> None:
    """Put the files that a page shows, and those that it speaks of, into the folder."""
    for block in blocks_of(page):
        if block.given("file"):
            (folder / block.given("file")).write_text(block.body, encoding="utf-8")
    if any(WEIGHTS in block.body for block in blocks_of(page)):
        save_weights(folder / WEIGHTS)


def save_weights(path: Path) -> None:
    """Save a state dict as somebody who has trained a ResNet50 would."""
    import torch

    from pytest_servebench.models.resnet50 import build
    from pytest_servebench.models.weights import Weights

    torch.save(build(Weights(label="", seed=1)).state_dict(), path)


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page: Path) -> None:
    """Every command marked to be run ends as the page says, and prints what it shows."""
    complaint = complaint_of(lambda _: run_page(page))
    assert not complaint, complaint


def run_page(page: Path) -> str:
    """Run a page's commands in a folder of their own; return what went otherwise than it says."""
    with user_folder() as folder:
        lay_out(page, folder)
        return "\n".join(filter(None, (run_block(block, folder) for block in blocks_of(page))))


def run_block(block: Block, folder: Path) -> str:
    """Run the commands of a block that is marked to be run; return what went otherwise."""
    if "run" not in block.words:
        return ""
    # Weights of its own are exported once, for nobody else.
    own_cache = {"SERVEBENCH_CACHE": str(folder / "cache")} if (folder / WEIGHTS).exists() else {}
    options = SHORT if speaks_of_resnet50(block.page) else f"{SHORT} {SMALL}"
    printed = ""
    for command in block.commands:
        done = run(command, folder, PYTEST_ADDOPTS=options, **own_cache)
        if done.returncode != int(block.given("exit") or 0):
            return f"{block}: {command}\n{done.stdout}"
        printed += done.stdout
    missing = [line for line in block.output if line not in printed]
    return f"{block}: {missing} is not in\n{printed}" if missing else ""


def speaks_of_resnet50(page: Path) -> bool:
    """Return whether a page's commands are about ResNet50: the first page's, and those that name it."""
    commands = (command for block in blocks_of(page) if "run" in block.words for command in block.commands)
    return page.name == "README.md" or any("resnet50" in command.lower() for command in commands)


@pytest.fixture
def record(folder: Path) -> dict[str, Any]:
    """Return the record of the documented stack, measured as its page says."""
    lay_out(ROOT / "docs" / "add-a-stack.md", folder)
    done = run(
        "pytest test_my_model.py --stack=plainhttp --serve-quick --benchmark-json=saved.json",
        folder,
        PYTEST_ADDOPTS=f"{SHORT} -W error",
    )
    assert done.returncode == 0, done.stdout
    saved = json.loads((folder / "saved.json").read_text())
    (kept,) = saved["servebench"]["records"]
    return dict(kept)


def test_the_documented_stack_is_measured(record: dict[str, Any]) -> None:
    """A stack offered by a conftest.py leaves a valid record: verified, measured, counted."""
    assert (record["case"]["stack"], record["launcher"]) == ("plainhttp", "process")
    assert (record["validity"], record["reason"]) == ("valid", "")
    assert record["verification"]["before"]["compared"] >= 16
    assert record["counts"]["correct"] > 0
    assert record["images_per_s"] > 0
    assert record["response_time_ms"]["p95"] >= record["response_time_ms"]["p50"] > 0
    # It never gathers requests, and says so itself.
    assert record["telemetry"]["batch_size_achieved"] == 1
    assert record["telemetry"]["server_memory_bytes"] > 0
