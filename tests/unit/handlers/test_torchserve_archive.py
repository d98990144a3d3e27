"""The model archive as handlers/torchserve/README.md says it is built."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

from pytest_servebench.folders.shipped import shipped
from pytest_servebench.plan import ModelFormat
from pytest_servebench.stacks.engine_files import ENGINE_FILES
from tests.tiny_model import build_tiny_model


def documented_command() -> list[str]:
    """Return the archiver's command line from the README, run by this Python."""
    text = (shipped("handlers") / "torchserve" / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```\n(torch-model-archiver .*?)\n```", text, re.DOTALL)
    assert block is not None
    words = shlex.split(block.group(1).replace("\\\n", " "))
    return [sys.executable, "-m", "model_archiver.model_packaging", *words[1:]]


def test_the_documented_command_packs_a_whole_archive(tmp_path: Path) -> None:
    """The command in the README, as written, packs the handler, its siblings and the model."""
    build_tiny_model(tmp_path, ModelFormat.PYTORCH)
    (tmp_path / "handlers").symlink_to(shipped("handlers"))
    (tmp_path / "model_store").mkdir()
    done = subprocess.run(documented_command(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "model_store" / "resnet50_pytorch.mar") as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
    guests = {
        "handler.py",
        *ENGINE_FILES,
        "image_decoder.py",
        "imagenet.py",
        "torchserve_request.py",
        "model-config.yaml",
    }
    assert names >= guests | {"model.pt", "card.json", "labels.json"}
    assert manifest["model"]["serializedFile"] == "model.pt"
    assert manifest["model"]["handler"] == "handler.py"
