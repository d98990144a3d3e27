from __future__ import annotations

from pathlib import Path

import pytest

from pytest_servebench.errors import LaunchError
from pytest_servebench.launchers.workdir import Placeholders, open_log, write_files
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
    with pytest.raises(LaunchError, match=r"its file m cannot be written[\s\S]*No such file.*gone\.onnx"):
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
