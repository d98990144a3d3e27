"""What two runs must share to be compared, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.comparison.conditions import conditions
from pytest_servebench.comparison.fingerprint import (
    CONDITIONS,
    FACTS,
    differences,
    fingerprint,
    mixed,
    parse_allowed,
    summary,
)
from pytest_servebench.errors import PlanError
from pytest_servebench.plan import ModelFormat
from tests.saved_records import PACKAGES, saved_record

NOTHING: frozenset[str] = frozenset()
IN_CONTAINER = {"image": "servebench/fastapi:abc", "image_id": "sha256:1", "cpu_set": "", "cpus": None}


def versions(record: dict[str, Any]) -> set[str]:
    """Return the packages in a fingerprint."""
    return {name.removeprefix("versions.") for name in fingerprint(record) if name.startswith("versions.")}


@pytest.mark.parametrize(
    ("stack", "model_format", "names"),
    [
        ("fastapi", ModelFormat.ONNX, {"fastapi", "onnxruntime"}),
        ("fastapi", ModelFormat.PYTORCH, {"fastapi", "torch"}),
        ("triton", ModelFormat.ONNX, {"nvidia-pytriton", "onnxruntime"}),
        ("torchserve", ModelFormat.ONNX, {"torchserve", "torch", "onnxruntime"}),
        ("torchserve", ModelFormat.PYTORCH, {"torchserve", "torch"}),
        ("somebodys", ModelFormat.ONNX, set(PACKAGES) - {"pytest"}),
    ],
)
def test_a_case_depends_on_the_packages_of_its_stack(
    stack: str, model_format: ModelFormat, names: set[str]
) -> None:
    """TorchServe's version is nothing to FastAPI; of a stack that we do not know everything may matter."""
    record = saved_record(stack=stack, model_format=model_format)
    assert versions(record) == names | {"pytest-servebench", "numpy"}


def test_a_container_has_its_image_and_no_packages_of_the_host() -> None:
    """Only the client is the host's; built alike is alike, whatever id the image got."""
    record = saved_record(launcher="docker", container=IN_CONTAINER)
    assert versions(record) == {"pytest-servebench"}
    assert (fingerprint(record)["image"], fingerprint(record)["python"]) == ("servebench/fastapi:abc", "none")
    rebuilt = saved_record(launcher="docker", container={**IN_CONTAINER, "image_id": "sha256:2"})
    assert differences([record], [rebuilt], NOTHING) == []
    newer = saved_record(launcher="docker", container={**IN_CONTAINER, "image": "servebench/fastapi:def"})
    assert differences([record], [newer], NOTHING) == [
        "image was servebench/fastapi:abc, is servebench/fastapi:def"
    ]


def test_an_image_that_was_named_is_what_is_judged() -> None:
    """A team that gates its image has another at every commit."""
    images = ("registry/ours:1", "registry/ours:2")
    before, now = (
        saved_record(launcher="docker", container={**IN_CONTAINER, "image": image}) for image in images
    )
    assert differences([before], [now], NOTHING) == []


@pytest.mark.parametrize(
    ("container", "cpu_set", "cores"),
    [
        (None, None, "8"),
        (None, "0-1,5", "3"),
        ({**IN_CONTAINER, "cpu_set": "4-7"}, "4-7", "4"),
        ({**IN_CONTAINER, "cpus": 2.5}, None, "8, limited to 2.5"),
    ],
)
def test_cores_are_those_the_server_had(container: Any, cpu_set: str | None, cores: str) -> None:
    """How many, and not which: workers of one run have different ones."""
    assert fingerprint(saved_record(container=container, cpu_set=cpu_set))["cores"] == cores


def test_a_gpu_matters_to_whom_it_computes_for() -> None:
    """A CPU case is the same beside any GPU; on one, its kind and driver count, not its number."""
    other = {"gpus": ["H100"], "gpu_driver": "560"}
    assert differences([saved_record()], [saved_record(machine=other)], NOTHING) == []
    before = saved_record(device="cuda:0", backend="torch cuda:0")
    assert fingerprint(before)["gpu"] == "RTX 4090"
    assert differences([before], [saved_record(device="cuda:1", backend="torch cuda:1")], NOTHING) == []
    assert differences(
        [before], [saved_record(device="cuda:0", backend="torch cuda:0", machine=other)], NOTHING
    ) == [
        "gpu was RTX 4090, is H100",
        "driver was 555.1, is 560",
    ]


def test_of_several_kinds_of_gpu_the_one_that_computed_counts() -> None:
    """A machine's other GPU, or a part of one (MIG), is no machine that became slower; replicas are alike."""

    def on(gpu_name: str | None) -> dict[str, Any]:
        machine = {"gpus": ["RTX 4090", "T4"]}
        return saved_record(device="cuda:0", machine=machine, telemetry={"gpu_name": gpu_name})

    assert differences([on("RTX 4090")], [on("T4")], NOTHING) == ["gpu was RTX 4090, is T4"]
    assert differences([on("RTX 4090")], [on("RTX 4090 MIG 1g.5gb")], NOTHING) == [
        "gpu was RTX 4090, is RTX 4090 MIG 1g.5gb"
    ]
    assert fingerprint(on("2 x RTX 4090"))["gpu"] == "RTX 4090"
    assert fingerprint(on("1 x RTX 4090 and 2 x T4"))["gpu"] == "RTX 4090, T4"
    assert fingerprint(on(None))["gpu"] == "RTX 4090, T4"


def test_a_server_over_two_gpus_is_no_server_over_one() -> None:
    """How many is told apart, which they are is not."""
    one, two, others = (
        saved_record(device=device, backend=f"torch {device}")
        for device in ("cuda:0", "cuda:0,1", "cuda:2,3")
    )
    assert differences([two], [others], NOTHING) == []
    assert differences([one], [two], NOTHING) == [
        "device was cuda, is cuda x2",
        "backend was torch cuda, is torch cuda x2",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machine": {"cpu": "Slide rule"}}, ["cpu was Abacus 2000, is Slide rule"]),
        ({"machine": {"python": "CPython 3.11.9"}}, []),
        ({"machine": {"python": "CPython 3.12.1"}}, ["python was CPython 3.11, is CPython 3.12"]),
        ({"machine": {"kernel": "6.9", "memory_bytes": 1}}, []),
        ({"launcher": "attach"}, 3),
        ({"weights": "file:mine.pt"}, ["weights was seeded-random:0, is file:mine.pt"]),
        ({"artifact_sha256": "b" * 64}, ["model-file was aaaaaaaaaaaa, is bbbbbbbbbbbb"]),
        (
            {"machine": {"packages": {**PACKAGES, "onnxruntime": "1.21"}}},
            ["versions.onnxruntime was 1.20, is 1.21"],
        ),
        ({"k6": {"version": "1.3"}}, ["versions.k6 was none, is 1.3"]),
    ],
)
def test_differences_are_told_in_words(changes: dict[str, Any], words: list[str] | int) -> None:
    """Each with what it was and what it is; what changes often and hardly matters is none."""
    found = differences([saved_record()], [saved_record(**changes)], NOTHING)
    if isinstance(words, int):
        assert len(found) >= words
    else:
        assert list(found) == words


def test_what_is_allowed_is_no_difference() -> None:
    """By fact, by package, all packages, or everything."""
    now = saved_record(machine={"cpu": "x", "packages": {**PACKAGES, "fastapi": "1", "numpy": "3"}})
    found = {
        words: len(differences([saved_record()], [now], frozenset(words.split(","))))
        for words in ("", "cpu", "versions", "versions.fastapi", "cpu,versions", "all")
    }
    assert found == {"": 3, "cpu": 2, "versions": 1, "versions.fastapi": 2, "cpu,versions": 0, "all": 0}


def test_a_side_that_is_mixed_is_different() -> None:
    """Repeats from two machines on both sides are not the same machine twice."""
    both = [saved_record(), saved_record(machine={"cpu": "Slide rule"})]
    words = "Abacus 2000 or Slide rule"
    assert differences(both, both, NOTHING) == [f"cpu was {words}, is {words}"]
    assert mixed(both) == [f"cpu is {words}"]
    assert mixed([saved_record()] * 2) == []


def test_what_a_server_was_told_to_do_otherwise_is_a_difference() -> None:
    """Runs whose JPEG another library decoded are compared only where that is allowed."""
    before, now = (
        {**saved_record(), "served": {"options": {"io_binding": "off", "decoder": decoder}}}
        for decoder in ("pillow", "nvjpeg")
    )
    said = "options was decoder pillow, io_binding off, is decoder nvjpeg, io_binding off"
    assert differences([before], [now], NOTHING) == [said]
    assert differences([before], [before], NOTHING) == []
    assert differences([before], [now], frozenset({"options"})) == []


def test_an_old_record_without_a_machine_is_compared_as_it_is() -> None:
    """What is not known is none, and differs from what is."""
    bare = {"schema": 1, "case": {"id": "a"}}
    assert differences([bare], [bare], NOTHING) == []
    assert "cpu was none, is Abacus 2000" in differences([bare], [saved_record()], NOTHING)


@pytest.mark.parametrize("text", ["cpu", "versions, cpu", "versions.torch", "all", *FACTS, *CONDITIONS])
def test_every_word_that_is_told_can_be_allowed(text: str) -> None:
    """What a difference is called is what a person types."""
    assert parse_allowed(text, flag="--it") == {part.strip() for part in text.split(",")}


def test_every_condition_can_be_allowed() -> None:
    """The conditions of a load are told, and allowed, by the same names."""
    assert set(conditions(saved_record())) == set(CONDITIONS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cpus", r"--it does not know 'cpus': did you mean cpu\?"),
        ("", "does not know ''"),
        ("versions.", "'versions.'"),
    ],
)
def test_an_unknown_word_is_refused(text: str, message: str) -> None:
    """A misspelt fact would allow nothing, and nobody would know why."""
    with pytest.raises(PlanError, match=message) as caught:
        parse_allowed(text, flag="--it", where="here")
    assert caught.value.where == "here"
    assert "versions.NAME" in caught.value.next_step


def test_the_summary_has_every_stack() -> None:
    """What people read: each fact with all its values, those that nothing has left out."""
    records = [saved_record(), saved_record(stack="triton", backend="other")]
    facts = summary(records)
    assert facts["backend"] == ["made-up backend", "other"]
    assert facts["versions.fastapi"] == ["0.120"]
    assert "gpu" not in facts
    assert next(iter(facts)) == "cpu"
