from __future__ import annotations

from pathlib import Path

import pytest

from pytest_servebench.errors import LaunchError
from pytest_servebench.launchers.workdir import Links, Placeholders, open_log, open_to_all, write_files
from pytest_servebench.plan import LaunchSpec, ReadyCheck, WorkFile


def spec(*files: WorkFile) -> LaunchSpec:
    """Return a spec with these working files."""
    return LaunchSpec(name="tiny", argv=("serve",), files=files, ready=ReadyCheck(path="/"))


def write(workdir: Path, *files: WorkFile) -> None:
    """Write these working files into a folder."""
    workdir.mkdir(exist_ok=True)
    write_files(spec(*files), workdir, Placeholders.of(workdir, "127.0.0.1", {"http": 81, "grpc": 82}))


def test_fills_placeholders() -> None:
    """Ports by role, host and folder are filled in; what is not ours stays as it is."""
    fill = Placeholders.of(Path("/a b"), "127.0.0.1", {"http": 81, "grpc": 82}).fill
    assert fill("${host}:${http_port} ${grpc_port} ${workdir}/x") == "127.0.0.1:81 82 /a b/x"
    assert fill("${HOME} costs $$5") == "${HOME} costs $5"


def test_writes_text_in_folders(tmp_path: Path) -> None:
    """Text is rendered, and the folders it lies in are made."""
    write(tmp_path / "a b", WorkFile(path="conf/d/x.txt", text="port=${http_port}"))
    assert (tmp_path / "a b/conf/d/x.txt").read_text() == "port=81"


def test_links_and_copies(tmp_path: Path) -> None:
    """A source is linked, or copied when asked, be it a file or a folder."""
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/f").write_text("x")
    work = tmp_path / "work"
    write(
        work,
        WorkFile(path="linked", source=tree),
        WorkFile(path="copied", source=tree, copy=True),
        WorkFile(path="one/f", source=tree / "sub/f", copy=True),
    )
    assert (work / "linked").is_symlink()
    assert (work / "linked/sub/f").read_text() == "x"
    assert not (work / "copied").is_symlink()
    assert (work / "copied/sub/f").read_text() == "x"
    assert not (work / "one/f").is_symlink()


def test_replaces_what_an_earlier_start_left(tmp_path: Path) -> None:
    """A second start in the same folder finds no stale file, and the sources are not touched."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "precious").write_text("x")
    work = tmp_path / "work"
    write(work, WorkFile(path="m", source=source), WorkFile(path="c", source=source, copy=True))
    (work / "c/stale").write_text("y")
    write(work, WorkFile(path="m", text="now text"), WorkFile(path="c", source=source, copy=True))
    assert (work / "m").read_text() == "now text"
    assert not (work / "c/stale").exists()
    assert (source / "precious").read_text() == "x"


@pytest.mark.parametrize(
    "path", ["../outside", "/tmp/outside", "a/../../outside", "linked/outside", "linked/sub/outside"]
)
def test_touches_nothing_outside(tmp_path: Path, path: str) -> None:
    """A file that would land outside the private folder, also through a link, is refused."""
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(LaunchError, match="cannot be made"):
        write(tmp_path / "work", WorkFile(path="linked", source=other), WorkFile(path=path, text="x"))
    assert list(other.iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_refuses_a_file_without_content(tmp_path: Path) -> None:
    """A working file needs exactly one of text and source."""
    with pytest.raises(LaunchError, match="exactly one of text and source"):
        write(tmp_path, WorkFile(path="x"))


def test_names_a_source_that_is_missing(tmp_path: Path) -> None:
    """A source that is not there is an error that names it, not a dangling link."""
    with pytest.raises(LaunchError, match=r"m is made from is not there[\s\S]*no such file: .*gone\.onnx"):
        write(tmp_path, WorkFile(path="m", source=tmp_path / "gone.onnx"))


def test_names_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A working folder that cannot be written is an error that says where and why."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LaunchError) as caught:
        open_log(spec(), tmp_path / "file" / "inner", ("serve",))
    assert caught.value.what == "tiny cannot be launched: its log cannot be written"
    assert caught.value.where == str(tmp_path / "file/inner/server.log")
    assert "Not a directory" in caught.value.seen
    assert caught.value.next_step.startswith("free space on that disk, or choose")


def test_no_space_for_the_log(tmp_path: Path) -> None:
    """A full disk shows before the server starts, in words."""
    (tmp_path / "server.log").symlink_to("/dev/full")
    with pytest.raises(LaunchError, match="No space left on device"):
        open_log(spec(), tmp_path, ("serve",))


def test_a_log_tail_is_of_this_start(tmp_path: Path) -> None:
    """An earlier start's lines stay in the file and out of the tail."""
    for word in ("first", "second"):
        file, log = open_log(spec(), tmp_path, ("serve",))
        with file:
            file.write(f"{word}\nbytes \xff\nlast {word}\n".encode("latin-1"))
    assert log.tail() == "second\nbytes \ufffd\nlast second"
    assert log.tail(1) == "last second"
    assert log.tail(0) == ""
    assert "last first" in (tmp_path / "server.log").read_text(errors="replace")


def test_a_tail_of_a_huge_log_is_short(tmp_path: Path) -> None:
    """A log that grew large is read only at its end."""
    file, log = open_log(spec(), tmp_path, ("serve",))
    with file:
        for _ in range(3):
            file.write(b"x" * 79 + b"\n" + b"y\n" * 50_000)
    assert log.tail(3) == "y\ny\ny"
    assert len(log.tail(10**6)) <= 65536


def test_a_log_that_is_gone_has_an_empty_tail(tmp_path: Path) -> None:
    """A log that somebody removed breaks no error message."""
    file, log = open_log(spec(), tmp_path, ("serve",))
    file.close()
    log.path.unlink()
    assert log.tail() == ""


def write_for_container(workdir: Path, *files: WorkFile, scratch: tuple[str, ...] = ()) -> None:
    """Write these working files for a server that sees nothing but the folder."""
    workdir.mkdir(exist_ok=True, mode=0o700)
    write_files(spec(*files), workdir, Placeholders.of(workdir, "h", {}), Links.NONE)
    open_to_all(spec(*files), workdir, scratch)


def rights(path: Path) -> int:
    """Return who may do what."""
    return path.stat().st_mode & 0o7777


def test_without_links_out_of_the_folder(tmp_path: Path) -> None:
    """A container sees its folder only: large files are hard links, folders copies, nothing leads out."""
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/f").write_text("x")
    model = tmp_path / "model"
    model.write_text("weights")
    model.chmod(0o644)
    work = tmp_path / "work"
    write_for_container(
        work,
        WorkFile(path="m/model", source=model),
        WorkFile(path="m/own", source=model, copy=True),
        WorkFile(path="tree", source=tree),
    )
    assert (work / "m/model").samefile(model)
    assert not (work / "m/own").samefile(model)
    assert (work / "tree/sub/f").read_text() == "x"
    assert not any(path.is_symlink() for path in work.rglob("*"))


def test_what_is_not_for_all_is_copied_and_the_copy_is(tmp_path: Path) -> None:
    """A container's user has a number of its own: it reads what we wrote, and no original's rights change."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    odd = tmp_path / "odd"
    odd.write_text("x")
    odd.chmod(0o704)
    work = tmp_path / "work"
    write_for_container(work, WorkFile(path="conf/secret", source=secret), WorkFile(path="odd", source=odd))
    assert (rights(secret), rights(odd)) == (0o600, 0o704)
    assert rights(work / "conf/secret") == 0o644
    assert rights(work) & 0o055 == rights(work / "conf") & 0o055 == 0o055


def test_another_disk_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no hard link can be made the file is copied."""

    def other_disk(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    model = tmp_path / "model"
    model.write_text("weights")
    monkeypatch.setattr(Path, "hardlink_to", other_disk)
    write_for_container(tmp_path / "work", WorkFile(path="model", source=model))
    assert (tmp_path / "work/model").read_text() == "weights"
    assert not (tmp_path / "work/model").samefile(model)


def test_a_second_start_does_not_write_through_a_hard_link(tmp_path: Path) -> None:
    """What an earlier start linked is replaced, never overwritten: the original may be a cached model."""
    model = tmp_path / "model"
    model.write_text("weights")
    work = tmp_path / "work"
    write_for_container(work, WorkFile(path="model", source=model))
    write_for_container(work, WorkFile(path="model", text="now text"))
    assert model.read_text() == "weights"


def test_scratch_folders_are_for_everybody(tmp_path: Path) -> None:
    """They are made where a container's tmpfs is mounted, with the rights that it takes over."""
    write_for_container(tmp_path / "work", scratch=("logs/inner",))
    assert rights(tmp_path / "work/logs/inner") == 0o1777
    with pytest.raises(LaunchError, match="cannot be made"):
        write_for_container(tmp_path / "work", scratch=("../outside",))
    assert not (tmp_path / "outside").exists()
