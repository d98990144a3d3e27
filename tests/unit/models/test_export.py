from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pytest_servebench.errors import ModelError
from pytest_servebench.models import export
from pytest_servebench.models.catalogue import ModelCard, model_card
from pytest_servebench.models.export import (
    ExportOrder,
    default_cache_dir,
)
from pytest_servebench.models.kept_folder import exported_folder
from pytest_servebench.models.weights import Weights
from pytest_servebench.plan import Artifact
from tests.unit.models.small_export import Builder, order

ROOT = Path(export.__file__).resolve().parents[2]
NAMES = ["card.json", "labels.json", "manifest.json", "model.onnx", "model.pt"]


# What is there after an export


def test_an_export_is_complete(resnet50: Artifact) -> None:
    """Model in both formats, card, labels and manifest lie in one folder; nothing is left beside it."""
    assert (
        sorted(path.name for path in resnet50.path.parent.iterdir() if "reference" not in path.name) == NAMES
    )
    assert not list(resnet50.path.parents[1].glob(".building*"))


def test_the_card_holds_what_guests_read_and_where_it_comes_from(resnet50: Artifact) -> None:
    """card.json has the preprocessing of the catalogue, and the provenance of the files beside it."""
    card = json.loads(resnet50.card_path.read_text())
    assert card["name"] == "resnet50"
    assert (card["resize"], card["crop"], card["interpolation"]) == (256, 224, "bilinear")
    assert (card["mean"], card["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert (card["input_shape"], card["classes"]) == ([3, 224, 224], 1000)
    assert card["weights"] == resnet50.weights == "seeded-random:0"
    assert card["sha256"]["model.onnx"] == resnet50.sha256
    assert card["precision"] == "fp32"
    assert {"torch", "onnx"} <= card["versions"].keys()


def test_the_labels_lie_beside_the_model(resnet50: Artifact) -> None:
    """Guests find 1,000 names as a JSON list."""
    labels = json.loads(resnet50.labels_path.read_text())
    assert (len(labels), labels[285]) == (1000, "Egyptian cat")


@pytest.mark.parametrize("model", ["resnet50", "efficientnet"])
def test_the_onnx_file_has_the_names_and_shapes_of_the_reference(
    model: str, request: pytest.FixtureRequest
) -> None:
    """``input`` FP32 [n, 3, 224, 224] and ``output`` FP32 [n, 1000], for any n."""
    import onnxruntime

    made: Artifact = request.getfixturevalue(model)
    session = onnxruntime.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
    (entry,), (result,) = session.get_inputs(), session.get_outputs()
    assert (entry.name, entry.type, entry.shape) == ("input", "tensor(float)", ["batch", 3, 224, 224])
    assert (result.name, result.type, result.shape) == ("output", "tensor(float)", ["batch", 1000])
    for count in (1, 5):
        batch = np.zeros((count, 3, 224, 224), np.float32)
        assert session.run(None, {"input": batch})[0].shape == (count, 1000)


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("model", ["resnet50", "efficientnet"])
def test_both_formats_are_the_same_model(model: str, request: pytest.FixtureRequest) -> None:
    """ONNX and TorchScript of one model have equal weights: their logits agree to 1e-4 of the spread."""
    import onnxruntime
    import torch

    made: Artifact = request.getfixturevalue(model)
    batch = np.random.default_rng(1).standard_normal((3, 3, 224, 224)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(made.path), providers=["CPUExecutionProvider"])
    onnx = session.run(None, {"input": batch})[0]
    with torch.inference_mode():
        script = torch.jit.load(str(made.path.with_name("model.pt")))(torch.from_numpy(batch)).numpy()
    assert np.abs(onnx - script).max() / np.ptp(onnx) < 1e-4


def test_torch_stays_out_of_the_process_that_asks(resnet50: Artifact, tmp_path: Path) -> None:
    """A session that exports or uses a model never loads torch, from whatever folder it runs."""
    code = (
        "import sys; from pathlib import Path;"
        "from pytest_servebench.models.export import artifact;"
        "from pytest_servebench.plan import ModelFormat;"
        "made = artifact('efficientnet_lite0', ModelFormat.PYTORCH, Path(sys.argv[1]));"
        "assert made.path.stat().st_size > 1e6; assert 'torch' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, "cache"], cwd=tmp_path, env=environment, check=False
        )
        assert done.returncode == 0


# Once, and again when broken


def test_the_second_use_builds_nothing(tmp_path: Path) -> None:
    """An export is kept: the same order gives the same files without building."""
    build = Builder()
    first = exported_folder(order(), tmp_path, build)
    assert exported_folder(order(), tmp_path, build) == first
    assert build.calls == 1


def damage_truncate(folder: Path) -> None:
    """Cut the model in half."""
    (folder / "model.onnx").write_bytes(b"onnx" * 500)


def damage_flip(folder: Path) -> None:
    """Change one bit, leaving the size."""
    content = bytearray((folder / "model.pt").read_bytes())
    content[1234] ^= 1
    (folder / "model.pt").write_bytes(content)


def damage_card(folder: Path) -> None:
    """Remove the card."""
    (folder / "card.json").unlink()


def damage_labels(folder: Path) -> None:
    """Replace the names."""
    (folder / "labels.json").write_text("[]")


def damage_no_manifest(folder: Path) -> None:
    """Remove the list of hashes."""
    (folder / "manifest.json").unlink()


def damage_half_manifest(folder: Path) -> None:
    """Cut the list of hashes."""
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text()[:40])


def damage_hash(folder: Path) -> None:
    """Write a wrong hash."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.onnx"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))


def damage_unlisted(folder: Path) -> None:
    """List no file at all."""
    (folder / "manifest.json").write_text(json.dumps({"files": {}}))


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncate,
        damage_flip,
        damage_card,
        damage_labels,
        damage_no_manifest,
        damage_half_manifest,
        damage_hash,
        damage_unlisted,
    ],
)
def test_a_broken_artifact_is_noticed_and_rebuilt(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """Whatever happened to a file on disk, the next use has whole ones."""
    build = Builder()
    folder, files = exported_folder(order(), tmp_path, build)
    damage(folder)
    assert exported_folder(order(), tmp_path, build) == (folder, files)
    assert build.calls == 2
    assert (folder / "model.onnx").read_bytes() == b"onnx" * 1000
    assert exported_folder(order(), tmp_path, build) == (folder, files)
    assert build.calls == 2


def test_what_a_killed_build_left_is_cleared(tmp_path: Path) -> None:
    """A half-written folder of an earlier build neither counts as an artifact nor stays."""
    folder, _ = exported_folder(order(), tmp_path / "a", Builder())
    staging = tmp_path / "b" / "models" / f".building-{folder.name}"
    staging.mkdir(parents=True)
    (staging / "model.onnx").write_bytes(b"on")
    exported_folder(order(), tmp_path / "b", Builder())
    assert not staging.exists()


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    """After a failure there is no artifact, whole or half."""

    def fail(_order: ExportOrder, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"on")
        raise ModelError("no")

    with pytest.raises(ModelError, match="no"):
        exported_folder(order(), tmp_path, fail)
    assert not [path for path in (tmp_path / "models").iterdir() if path.is_dir()]


def test_several_processes_build_once(tmp_path: Path) -> None:
    """Sessions that start together wait for one export and share it."""
    code = (
        "import sys, os; from pathlib import Path;"
        "from tests.unit.models.small_export import Builder, order;"
        "from pytest_servebench.models.kept_folder import exported_folder\n"
        "class Logged(Builder):\n"
        "    def __call__(self, wanted, folder):\n"
        "        with open(Path(sys.argv[1]) / 'log', 'a') as log: log.write('built\\n')\n"
        "        super().__call__(wanted, folder)\n"
        "exported_folder(order(), Path(sys.argv[1]), Logged())"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    running = [subprocess.Popen(command, env=environment) for _ in range(4)]
    assert [process.wait(timeout=60) for process in running] == [0] * 4
    assert (tmp_path / "log").read_text() == "built\n"


# The key


@pytest.mark.parametrize(
    "changes",
    [
        {"versions": {"torch": "2.14.0"}},
        {"weights": Weights(label="seeded-random:1")},
        {"weights": Weights(label="seeded-random:0", sha256="ab")},
        {"card": ModelCard(name="resnet50", summary="", crop=192)},
        {"card": model_card("efficientnet_lite0")},
    ],
)
def test_the_key_changes_with_what_shapes_the_export(changes: dict[str, object]) -> None:
    """An export is never taken for one of other weights, versions or preprocessing."""
    assert order(**changes).key != order().key
    assert order().key == order().key


# Where the cache is


def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """SERVEBENCH_CACHE wins over the platform's cache folder."""
    monkeypatch.setenv("SERVEBENCH_CACHE", "/some/where")
    assert default_cache_dir() == Path("/some/where")


def test_without_it_the_cache_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports outlive a checkout: they lie where the platform keeps caches."""
    monkeypatch.delenv("SERVEBENCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/the/caches")
    assert default_cache_dir() == Path("/the/caches/pytest-servebench")
