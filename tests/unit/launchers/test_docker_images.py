"""Which image it is, what it is built from, and that it is made once."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier
from typing import Any, cast

import pytest

from pytest_servebench.containers import ContainerImage, ImageBuild
from pytest_servebench.errors import LaunchError
from pytest_servebench.launchers.docker.context import tag_of, tar_chunks
from pytest_servebench.launchers.docker.engine import Engine, EngineError
from pytest_servebench.launchers.docker.images import full_name, have_image


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep locks out of the folder that other sessions use."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def build(tmp_path: Path) -> ImageBuild:
    """Return a build with a file, a folder and an argument."""
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/x.pyc").write_text("stale")
    (folder / "deep/run.sh").write_text("echo\n")
    (folder / "deep/run.sh").chmod(0o755)
    (tmp_path / "one.txt").write_text("1" * 1000)
    (tmp_path / "Dockerfile.cpu").write_text("FROM scratch\n")
    return ImageBuild(
        dockerfile_path=tmp_path / "Dockerfile.cpu",
        files={"renamed.txt": tmp_path / "one.txt", "guests": folder},
        arguments={"BASE": "tiny:1"},
    )


def test_the_context_holds_what_copy_lines_find(build: ImageBuild) -> None:
    """Files and folders by their given names, the Dockerfile, no byte code, no owner and no time."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_chunks(build)))) as tar:
        members = {member.name: member for member in tar.getmembers()}
        assert sorted(members) == ["Dockerfile", "guests/deep/run.sh", "renamed.txt"]
        assert {(m.mtime, m.uid, m.gid) for m in members.values()} == {(0, 0, 0)}
        assert (members["guests/deep/run.sh"].mode, members["renamed.txt"].mode) == (0o755, 0o644)
        file = tar.extractfile("renamed.txt")
        assert file is not None
        assert file.read() == b"1" * 1000


def test_equal_builds_have_equal_tags(build: ImageBuild) -> None:
    """Twelve hexadecimal digits that times and owners do not change."""
    before = tag_of(build)
    os.utime(build.files["renamed.txt"], (1, 1))
    assert tag_of(build) == before
    assert len(before) == 12
    assert set(before) <= set("0123456789abcdef")


def test_whatever_changes_the_image_changes_the_tag(build: ImageBuild) -> None:
    """A byte, a right, a name, an argument: none is served from an image of before."""
    tags = {
        tag_of(build),
        tag_of(replace(build, arguments={"BASE": "tiny:2"})),
        tag_of(replace(build, arguments={})),
        tag_of(replace(build, files={**build.files, "other.txt": build.files["renamed.txt"]})),
    }
    (build.files["guests"] / "deep/run.sh").chmod(0o644)
    tags.add(tag_of(build))
    build.files["renamed.txt"].write_text("2")
    tags.add(tag_of(build))
    build.dockerfile_path.write_text("FROM other\n")
    tags.add(tag_of(build))
    assert len(tags) == 7


def test_a_file_that_is_missing_is_named(build: ImageBuild) -> None:
    """Nothing is built from a part of what it needs."""
    with pytest.raises(LaunchError, match="a file for it cannot be read") as caught:
        full_name(
            ContainerImage(name="tiny", build=replace(build, files={"wheels": Path("/no/such/wheels")}))
        )
    assert "/no/such/wheels" in caught.value.seen


def test_names(build: ImageBuild) -> None:
    """What is built is ours and tagged by content; what is pulled keeps its tag or digest."""
    built = full_name(ContainerImage(name="fastapi", build=build))
    assert built == f"servebench/fastapi:{tag_of(build)}"
    assert full_name(ContainerImage(name="servebench/fastapi", build=build)) == built
    for name, full in (
        ("nvcr.io/nvidia/tritonserver:24.05-py3", "nvcr.io/nvidia/tritonserver:24.05-py3"),
        ("registry.example:5000/tiny", "registry.example:5000/tiny:latest"),
        ("tiny@sha256:00", "tiny@sha256:00"),
    ):
        assert full_name(ContainerImage(name=name)) == full


@dataclass
class FakeEngine:
    """Has images, and makes those it is asked to, saying ``says``."""

    images: dict[str, str] = field(default_factory=dict)
    says: tuple[Mapping[str, Any], ...] = ()
    silent: bool = False
    """It makes nothing, whatever it says."""
    asked: list[str] = field(default_factory=list)

    def image(self, name: str) -> Mapping[str, Any] | None:
        return {"Id": self.images[name]} if name in self.images else None

    def pull(self, repository: str, tag: str) -> Iterator[Mapping[str, Any]]:
        self.asked.append(f"pull {repository} {tag}")
        joint = "@" if tag.startswith("sha256:") else ":"
        yield from self._make(f"{repository}{joint}{tag}")

    def build(self, context: Iterator[bytes], *, tag: str, **_: Any) -> Iterator[Mapping[str, Any]]:
        self.asked.append(f"build {tag} of {sum(map(len, context))} bytes")
        yield from self._make(tag)

    def _make(self, name: str) -> Iterator[Mapping[str, Any]]:
        yield from self.says
        if not self.silent:
            self.images[name] = "sha256:new"


def have(engine: FakeEngine, image: ContainerImage) -> tuple[str, str, list[str]]:
    """Return the name and id of an image that was had, and what was told meanwhile."""
    told: list[str] = []
    got = have_image(cast("Engine", engine), image, lambda *line: told.append(": ".join(line)))
    return got.name, got.id, told


def test_an_image_that_is_present_is_used() -> None:
    """Nothing is asked of a registry for what is here."""
    engine = FakeEngine({"tiny:1": "sha256:old"})
    assert have(engine, ContainerImage(name="tiny:1")) == ("tiny:1", "sha256:old", [])
    assert engine.asked == []


def test_an_image_that_is_missing_is_pulled() -> None:
    """By tag or digest, and what the engine says is passed on, byte counts left out."""
    says: tuple[Mapping[str, Any], ...] = (
        {"status": "Pulling fs layer", "id": "aa"},
        {"status": "Downloading", "id": "aa", "progressDetail": {"current": 1, "total": 2}},
        {"status": "Pull complete", "id": "aa"},
    )
    engine = FakeEngine(says=says)
    name, image_id, told = have(engine, ContainerImage(name="tiny:1"))
    assert (name, image_id) == ("tiny:1", "sha256:new")
    assert told == ["tiny:1: it is pulled", "tiny:1: aa Pulling fs layer", "tiny:1: aa Pull complete"]
    have(engine, ContainerImage(name="tiny@sha256:00"))
    assert engine.asked == ["pull tiny 1", "pull tiny sha256:00"]


@pytest.mark.parametrize("name", ["12ab34", "sha256:12ab34", "12ab34cd", "sha256:12ab34cd"])
def test_an_image_is_named_by_its_id(name: str) -> None:
    """An id that the engine has, whole or not, with its algorithm or without, is used as it is."""
    engine = FakeEngine({name: "sha256:12ab34cd"})
    assert have(engine, ContainerImage(name=name)) == (name, "sha256:12ab34cd", [])
    assert engine.asked == []


def test_a_name_that_looks_like_an_id_is_a_name() -> None:
    """The engine prefers a name to an id; with its tag the record says which it was."""
    engine = FakeEngine({"cafe": "sha256:77", "cafe:latest": "sha256:77"})
    assert have(engine, ContainerImage(name="cafe")) == ("cafe:latest", "sha256:77", [])
    assert have(FakeEngine(), ContainerImage(name="beef"))[:2] == ("beef:latest", "sha256:new")


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_stands_in_the_place_of_the_locks_is_an_error(tmp_path: Path, kind: str) -> None:
    """Somebody else's link or file in the shared folder is told in words, and nothing is made."""
    place = tmp_path / f"servebench-images-{os.getuid()}"
    place.symlink_to(tmp_path) if kind == "link" else place.touch()
    engine = FakeEngine()
    with pytest.raises(LaunchError, match="lock") as caught:
        have(engine, ContainerImage(name="tiny:1"))
    assert caught.value.where == str(place)
    assert "TMPDIR" in caught.value.next_step
    assert engine.asked == []


def test_locks_are_for_this_user_alone(tmp_path: Path) -> None:
    """Nobody else can put a link or a file in a lock's place."""
    have(FakeEngine(), ContainerImage(name="tiny:1"))
    folder = tmp_path / f"servebench-images-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_an_image_is_built_once_for_many(build: ImageBuild) -> None:
    """Of several workers that want it at once, one builds it."""
    engine, image, together = FakeEngine(), ContainerImage(name="tiny", build=build), Barrier(4)

    def want() -> str:
        together.wait(10)
        return have(engine, image)[0]

    with ThreadPoolExecutor(4) as pool:
        names = {one.result() for one in [pool.submit(want) for _ in range(4)]}
    assert names == {f"servebench/tiny:{tag_of(build)}"}
    assert len(engine.asked) == 1


def test_a_build_that_fails_shows_its_last_lines(build: ImageBuild) -> None:
    """The engine's reason, what it said before, and where the Dockerfile is."""
    lines = tuple({"stream": f"line {i}\n"} for i in range(30))
    engine = FakeEngine(says=(*lines, {"error": "The command '/bin/sh -c false' returned code: 1"}))
    with pytest.raises(LaunchError) as caught:
        have(engine, ContainerImage(name="tiny", build=build))
    assert caught.value.what == f"the image servebench/tiny:{tag_of(build)} cannot be built"
    assert caught.value.where == str(build.dockerfile_path)
    assert caught.value.seen.startswith("The command '/bin/sh -c false' returned code: 1; the last lines")
    assert caught.value.seen.endswith("line 28\n    line 29")
    assert "line 9\n" not in caught.value.seen


def test_an_image_that_cannot_be_pulled() -> None:
    """The error shows the command to see it by hand, also where the engine said all was well."""
    refused = FakeEngine(says=({"error": "manifest unknown"},))
    with pytest.raises(LaunchError, match="the image tiny:9 cannot be pulled") as caught:
        have(refused, ContainerImage(name="tiny:9"))
    assert caught.value.seen.startswith("manifest unknown")
    assert "docker pull tiny:9" in caught.value.next_step
    with pytest.raises(LaunchError, match="it is not there"):
        have(FakeEngine(silent=True), ContainerImage(name="tiny:9"))


def test_an_engine_that_does_not_answer() -> None:
    """An engine's failure on the way is an error of the image, not a traceback."""

    class Silent(FakeEngine):
        def image(self, name: str) -> Mapping[str, Any] | None:
            raise EngineError("the Docker engine does not answer")

    with pytest.raises(LaunchError, match="cannot be pulled") as caught:
        have(Silent(), ContainerImage(name="tiny:9"))
    assert caught.value.seen == "the Docker engine does not answer"
