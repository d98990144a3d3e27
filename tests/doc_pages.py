"""Pages of the documentation with commands that are run as they stand, beside the files that they show."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.doc_blocks import PAGES, Block, blocks_of
from tests.doc_commands import complaint_of, is_judged, run, user_folder

SHORT = "-p no:cacheprovider --serve-duration=2s --serve-warmup=300ms"
SMALL = "--serve-model=efficientnet_lite0"
"""A third of ResNet50's work for an image: starts are quicker, and as long a window holds more requests."""
SHORTER = "--serve-duration=1s"
"""Holds enough of these, where nobody judges their figures."""
RUNNABLE = [page for page in PAGES if any("run" in block.words for block in blocks_of(page))]
JUDGED = [page for page in RUNNABLE if is_judged(page, "run")]
OTHERS = [page for page in RUNNABLE if page not in JUDGED]
WEIGHTS = "my-resnet50.pth"


def complaint_of_page(page: Path) -> str:
    """Run every command of a page that is marked to be run; return what went otherwise than it says."""
    return complaint_of(lambda _: run_page(page))


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
    small = SMALL if block.page in JUDGED else f"{SMALL} {SHORTER}"
    options = SHORT if speaks_of_resnet50(block.page) else f"{SHORT} {small}"
    printed = ""
    for command in block.commands:
        done = run_to_its_end(block, command, folder, PYTEST_ADDOPTS=options, **own_cache)
        if done.returncode != int(block.given("exit") or 0):
            return f"{block}: {command}\n{done.stdout}"
        printed += done.stdout
    missing = [line for line in block.output if line not in printed]
    return f"{block}: {missing} is not in\n{printed}" if missing else ""


def run_to_its_end(
    block: Block, command: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command; where nobody judges its figures, it alone is run again on a restless machine."""
    expected = int(block.given("exit") or 0)
    done: list[subprocess.CompletedProcess[str]] = []

    def follow(_attempt: int) -> str:
        done.append(run(command, folder, **environment))
        return done[-1].stdout if done[-1].returncode != expected and block.page not in JUDGED else ""

    complaint_of(follow)
    return done[-1]


def speaks_of_resnet50(page: Path) -> bool:
    """Return whether a page's commands are about ResNet50: the first page's, and those that name it."""
    commands = (command for block in blocks_of(page) if "run" in block.words for command in block.commands)
    return page.name == "README.md" or any("resnet50" in command.lower() for command in commands)
