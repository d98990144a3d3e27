"""What a server's image makes is made once, kept by what shapes it, and made again when broken."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from pytest_servebench.containers import ContainerImage, Preparation
from pytest_servebench.errors import LaunchError
from pytest_servebench.launchers.docker import workshop
from pytest_servebench.launchers.docker.workshop import Order, Workshop, have_made

PREPARATION = Preparation(
    name="resnet50_tensorrt",
    image=ContainerImage(name="triton:1"),
    argv=("trtexec", "--onnx=${source}/model.onnx", "--saveEngine=${made}/model.plan"),
    source=Path("/models/model.onnx"),
    source_sha256="abc",
    product="model.plan",
    settings={"precision": "fp16"},
    kept=("timing.cache",),
    next_step="read its log",
)


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """Return a plan to have in a folder that is not there yet."""
    return Order(preparation=PREPARATION, image_id="sha256:1", gpu="GPU A", folder=tmp_path / "plans")


def maker(written: bytes = b"plan", timings: bytes = b"timed") -> tuple[Callable[[Path], None], list[bytes]]:
    """Return what makes a plan, and the timings that it found each time it did."""
    found: list[bytes] = []

    def make(folder: Path) -> None:
        cache = folder / "timing.cache"
        found.append(cache.read_bytes() if cache.exists() else b"")
        cache.write_bytes(found[-1] + timings)
        (folder / "model.plan").write_bytes(written)

    return make, found


def test_it_is_made_once(order: Order) -> None:
    """The second session finds it whole, with what it was made from and on beside it."""
    make, found = maker()
    path = have_made(order, make)
    assert have_made(order, make) == path
    assert len(found) == 1
    assert path.read_bytes() == b"plan"
    facts = json.loads((path.parent / "made.json").read_text())["made_from"]
    assert (facts["gpu"], facts["image_id"], facts["source_sha256"]) == ("GPU A", "sha256:1", "abc")


@pytest.mark.parametrize(
    "changed",
    [
        lambda order: replace(order, gpu="GPU B"),
        lambda order: replace(order, image_id="sha256:2"),
        lambda order: with_preparation(order, source_sha256="def"),
        lambda order: with_preparation(order, settings={"precision": "fp32"}),
        lambda order: with_preparation(order, argv=("trtexec", "--noTF32")),
    ],
    ids=["gpu", "image", "model", "setting", "command"],
)
def test_what_shapes_it_makes_another(order: Order, changed: Callable[[Order], Order]) -> None:
    """A plan of another GPU, TensorRT, model, precision or profile is never served in its place."""
    make, found = maker()
    first, second = have_made(order, make), have_made(changed(order), make)
    assert first != second
    assert len(found) == 2


def with_preparation(order: Order, **changes: object) -> Order:
    """Return an order for another preparation."""
    return replace(order, preparation=replace(order.preparation, **changes))  # type: ignore[arg-type]


def test_where_the_model_lies_does_not_matter(order: Order) -> None:
    """Its content is what counts."""
    moved = with_preparation(order, source=Path("/elsewhere/model.onnx"))
    assert moved.place == order.place


@pytest.mark.parametrize("damage", ["cut", "gone", "facts"])
def test_a_broken_one_is_made_again(order: Order, damage: str) -> None:
    """A plan that is not as it was written is not served."""
    make, found = maker()
    path = have_made(order, make)
    if damage == "cut":
        path.write_bytes(b"pl")
    elif damage == "gone":
        path.unlink()
    else:
        (path.parent / "made.json").write_text("{")
    assert have_made(order, make).read_bytes() == b"plan"
    assert len(found) == 2


def test_timings_are_shared_by_the_plans_of_a_gpu_and_an_image(order: Order) -> None:
    """The second plan begins with what the first has timed; one of another image does not."""
    make, found = maker()
    have_made(order, make)
    have_made(with_preparation(order, settings={"precision": "fp32"}), make)
    have_made(replace(order, image_id="sha256:2"), make)
    assert found == [b"", b"timed", b""]


def test_a_failure_leaves_nothing_to_be_served(order: Order) -> None:
    """Neither half a plan nor its folder stays; the next try begins anew."""

    def fail(folder: Path) -> None:
        (folder / "model.plan").write_bytes(b"half")
        raise LaunchError("no", next_step="x")

    with pytest.raises(LaunchError, match="no"):
        have_made(order, fail)
    assert not order.place.exists()
    assert [path.name for path in order.folder.iterdir() if path.name.startswith(".building")] == []
    make, found = maker()
    assert have_made(order, make).read_bytes() == b"plan"
    assert found == [b""]


def test_what_a_killed_session_left_is_cleared(order: Order) -> None:
    """A folder that was being written when its session was killed is nobody's."""
    left = order.place.with_name(f".building-{order.place.name}")
    left.mkdir(parents=True)
    (left / "model.plan").write_bytes(b"half")
    make, _ = maker()
    assert have_made(order, make).read_bytes() == b"plan"
    assert not left.exists()


def test_tools_that_leave_no_file_are_told(order: Order) -> None:
    """An end without an error is not yet a plan."""
    with pytest.raises(LaunchError, match=r"model\.plan for resnet50_tensorrt was not made") as caught:
        have_made(order, lambda _: None)
    assert caught.value.where == "image triton:1"
    assert caught.value.next_step == "read its log"


def test_a_folder_that_cannot_be_written_is_told(order: Order, tmp_path: Path) -> None:
    """With where it is and how to choose another."""
    (tmp_path / "plans").write_text("a file")
    with pytest.raises(LaunchError, match="cannot be kept") as caught:
        have_made(order, maker()[0])
    assert "SERVEBENCH_CACHE" in caught.value.next_step


def test_who_waits_too_long_is_told(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process that never ends its build is named by its lock."""
    order.bench.mkdir(parents=True)
    monkeypatch.setattr(workshop, "_LOCK_TIMEOUT_S", 0.0)
    lock = FileLock(f"{order.bench}.lock")
    with lock, pytest.raises(LaunchError, match="another process has been making files for GPU A") as caught:
        have_made(order, maker()[0])
    assert isinstance(caught.value.__cause__, Timeout)
    assert caught.value.where == os.fspath(f"{order.bench}.lock")


def test_gpus_of_one_kind_share_a_plan_and_unequal_ones_are_refused(tmp_path: Path) -> None:
    """What is compiled for one GPU is not served on another."""
    kinds = {0: "H200", 1: "H200", 2: "T4"}
    shop = Workshop(cache_dir=tmp_path, gpu=kinds.__getitem__)
    assert shop.made_on((0, 1)) == "H200"
    assert shop.made_on(()) == "no GPU"
    with pytest.raises(LaunchError, match="cannot be served on others") as caught:
        shop.made_on((0, 2))
    assert caught.value.seen == "H200; T4"
    assert "--serve-device" in caught.value.next_step
