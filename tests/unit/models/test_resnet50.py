from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pytest_servebench.errors import ModelError
from pytest_servebench.models.catalogue import model_card
from pytest_servebench.models.export import artifact
from pytest_servebench.models.images import image_set
from pytest_servebench.models.reference import reference_logits
from pytest_servebench.models.resnet50 import ResNet50, build
from pytest_servebench.models.weights import Weights
from pytest_servebench.plan import Artifact, ModelFormat, Payload, Precision
from pytest_servebench.results import Answer
from pytest_servebench.verification import softmax, tolerance_for, verify

KEYS = Path(__file__).with_name("torchvision_resnet50_keys.txt")
"""Name and shape of each entry of the state dict of torchvision 0.29's resnet50."""

COARSEST = max(tolerance_for(ModelFormat.ONNX, each, Payload.TENSOR) for each in Precision)
"""Of all tolerances."""


def test_names_and_shapes_are_torchvisions() -> None:
    """The ImageNet state dict of torchvision has exactly these 320 entries, in this order."""
    with torch.device("meta"):
        state = ResNet50().state_dict()
    seen = [f"{name} {'x'.join(map(str, value.shape)) or 'scalar'}" for name, value in state.items()]
    assert seen == KEYS.read_text(encoding="utf-8").splitlines()


def test_it_has_resnet50s_parameters() -> None:
    """25,557,032 is the published number for 1,000 classes."""
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in ResNet50().parameters()) == 25_557_032


def test_a_state_dict_in_a_file_is_loaded_unchanged(tmp_path: Path) -> None:
    """Each tensor of a file of weights arrives under its name, also without batch counters.

    torchvision's first ImageNet file was written before BatchNorm counted batches.
    """
    with torch.random.fork_rng():
        torch.manual_seed(5)
        state = ResNet50().state_dict()
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "weights.pth")
    loaded = build(Weights(label="", path=tmp_path / "weights.pth")).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in old.items())


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    """A file that does not fit names what is missing and what to do, instead of a half-loaded model."""
    path = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(ModelError) as caught:
        artifact("resnet50", ModelFormat.ONNX, tmp_path / "cache", weights=path)
    message = str(caught.value)
    assert message.startswith("the export of resnet50 with weights file:other.pth failed\n")
    assert f"where: {path}" in message
    assert "Missing key(s) in state_dict" in message
    assert len(message) < 1000, "torch names each of 300 keys"
    assert not list((tmp_path / "cache" / "models").glob("*resnet50-*/"))


def _answer(row: npt.NDArray[np.float32], kind: str) -> Answer:
    probabilities = softmax(row)
    best = [int(index) for index in np.argsort(-probabilities)[:5]]
    confidences = tuple(float(probabilities[index]) for index in best)
    return Answer(tuple(best), confidences, row if kind == "logits" else None)


@pytest.mark.parametrize("name", ["synthetic", "photographs"])
def test_seeded_answers_differ_clearly_between_images(resnet50: Artifact, name: str) -> None:
    """A mixed-up batch cannot go unseen, whether a stack answers with all logits or five confidences.

    No image's answer is another's within ten times (confidences) the tolerance of fp32, or within that
    of the coarsest precision (logits), and no top-1 is closer to the second than that.
    """
    logits = reference_logits(resnet50, image_set(name, model_card("resnet50"), 16, 0))
    for kind, distance in (("logits", COARSEST), ("confidences", 0.01)):
        given = [_answer(row, kind) for row in logits]
        for shift in range(1, 16):
            assert len(verify(given, np.roll(logits, shift, axis=0), distance).mismatches) == 16
    best = np.sort([softmax(row) for row in logits], axis=1)[:, ::-1]
    assert (best[:, 0] - best[:, 1]).min() > 0.01
    assert len(set(logits.argmax(1).tolist())) >= 8


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:DeprecationWarning")
def test_seeded_weights_are_the_same_each_time(resnet50: Artifact) -> None:
    """Two sessions measure the same model: the seed decides every weight that is exported."""
    exported = torch.jit.load(str(resnet50.path.with_name("model.pt"))).state_dict()
    again = build(Weights(label="seeded-random:0")).state_dict()
    assert exported.keys() == again.keys()
    assert all(torch.equal(exported[name], value) for name, value in again.items())
