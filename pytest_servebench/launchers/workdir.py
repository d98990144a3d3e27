"""A server's private folder: its files and its log, rendered from a launch spec."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import BinaryIO

from pytest_servebench.errors import LaunchError
from pytest_servebench.plan import LaunchSpec, WorkFile
from pytest_servebench.words import Word

_TAIL_BYTES = 65536


class Links(Word):
    """How the files of a spec that are not copied come into the folder."""

    SYMBOLIC = "symbolic"
    """For a server that sees all of this machine."""
    NONE = "none"
    """For one that sees this folder only: hard links, or copies where those cannot be."""


@dataclass(frozen=True, slots=True)
class Placeholders:
    """What the ``${...}`` of one launch stand for."""

    values: Mapping[str, str]

    @staticmethod
    def of(workdir: Path, host: str, ports: Mapping[str, int]) -> Placeholders:
        """Return those of one attempt: ``workdir``, ``host`` and ``<role>_port`` for each role."""
        named = {f"{role}_port": str(port) for role, port in ports.items()}
        return Placeholders({"workdir": str(workdir), "host": host, **named})

    def fill(self, text: str) -> str:
        """Return ``text`` with them filled in; others stay, ``$$`` becomes ``$``."""
        return Template(text).safe_substitute(self.values)


@dataclass(frozen=True, slots=True)
class ServerLog:
    """The part of a log file that belongs to one start."""

    path: Path
    offset: int
    """Bytes of earlier starts in the same folder."""

    def tail(self, lines: int = 20) -> str:
        """Return the last lines; empty when there is nothing to read."""
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, 2)
                file.seek(max(self.offset, end - _TAIL_BYTES))
                data = file.read(_TAIL_BYTES)
        except OSError:
            return ""
        return "\n".join(data.decode(errors="replace").splitlines()[-lines:]) if lines > 0 else ""


def open_log(spec: LaunchSpec, workdir: Path, argv: tuple[str, ...]) -> tuple[BinaryIO, ServerLog]:
    """Return the log open for appending, and where this start begins in it; raises `LaunchError`.

    The command is written as its first line, so a full disk shows before the server starts.
    """
    path = workdir / "server.log"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise _cannot_write(spec, "its log", path, error) from error
    try:
        file.write(f"# servebench starts {spec.name}: {argv!r}\n".encode(errors="replace"))
        return file, ServerLog(path, file.tell())
    except OSError as error:
        file.close()
        raise _cannot_write(spec, "its log", path, error) from error


def write_files(
    spec: LaunchSpec, workdir: Path, placeholders: Placeholders, links: Links = Links.SYMBOLIC
) -> None:
    """Put the files of ``spec`` into ``workdir``, replacing those of an earlier start.

    Raises `LaunchError` when one cannot be written or does not belong there.
    """
    for file in spec.files:
        target = workdir / file.path
        try:
            _check(spec, file, target, workdir)
            _check_source(spec, file)
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(file, target, placeholders, links)
        except (OSError, shutil.Error) as error:
            raise _cannot_write(spec, f"its file {file.path}", target, error) from error


def open_to_all(spec: LaunchSpec, workdir: Path, scratch: Sequence[str], scratch_mode: int = 0o1777) -> None:
    """Let users of any number read ``workdir``, and write to its folders ``scratch``; raises `LaunchError`.

    As ``chmod -R a+rX``; a hard link's rights are those of its original, and stay. ``scratch_mode`` is that
    of what the engine mounts over a scratch folder, too: by default any user may write there, as to /tmp.
    """
    try:
        for path in scratch:
            _check(spec, WorkFile(path=path, text=""), workdir / path, workdir)
            (workdir / path).mkdir(parents=True, exist_ok=True)
            (workdir / path).chmod(scratch_mode)
        for folder, _, names in os.walk(workdir):
            for each in (Path(folder), *(Path(folder, name) for name in names)):
                _let_all_read(each)
    except OSError as error:
        raise _cannot_write(spec, "its folder", workdir, error) from error


def _check(spec: LaunchSpec, file: WorkFile, target: Path, workdir: Path) -> None:
    """Refuse a path outside the folder, also by way of a link: nobody else's files are touched."""
    inside = target.parent.resolve().is_relative_to(workdir.resolve()) and ".." not in target.parts
    if not inside or (file.text is None) == (file.source is None):
        raise LaunchError(
            f"{spec.name} asks for a working file that cannot be made",
            where=f"file {file.path!r} in {workdir}",
            seen="the path leads out of the folder" if not inside else f"{file!r}",
            next_step="give a path inside the folder, and exactly one of text and source",
        )


def _check_source(spec: LaunchSpec, file: WorkFile) -> None:
    """Refuse an original that is not there: no disk and no folder is at fault then."""
    if file.source is not None and not file.source.exists():
        raise LaunchError(
            f"{spec.name} cannot be launched: what its file {file.path} is made from is not there",
            where=f"the launch_spec of the stack {spec.name}",
            seen=f"no such file: {file.source}",
            next_step="correct its source, or put the file there",
        )


def _write(file: WorkFile, target: Path, placeholders: Placeholders, links: Links) -> None:
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.is_dir():
        shutil.rmtree(target)
    if file.text is not None:
        target.write_text(placeholders.fill(file.text), encoding="utf-8")
        return
    assert file.source is not None
    source = file.source.resolve(strict=True)
    if not file.copy and links is Links.SYMBOLIC:
        target.symlink_to(source)
    elif source.is_dir():
        shutil.copytree(source, target)
    elif file.copy or not _linked(source, target):
        shutil.copy2(source, target)


def _linked(source: Path, target: Path) -> bool:
    """Return whether ``target`` now is ``source`` by another name; its rights are then nobody's to change."""
    if not source.stat().st_mode & stat.S_IROTH:
        return False
    try:
        target.hardlink_to(source)
    except OSError:  # another disk, or somebody else's file
        return False
    return True


def _let_all_read(path: Path) -> None:
    seen = path.lstat()
    if stat.S_ISLNK(seen.st_mode) or (stat.S_ISREG(seen.st_mode) and seen.st_nlink > 1):
        return
    mode = stat.S_IMODE(seen.st_mode)
    wanted = mode | 0o444 | (0o111 if stat.S_ISDIR(seen.st_mode) or mode & 0o111 else 0)
    if wanted != mode:
        path.chmod(wanted)


def _cannot_write(spec: LaunchSpec, what: str, path: Path, error: Exception) -> LaunchError:
    return LaunchError(
        f"{spec.name} cannot be launched: {what} cannot be written",
        where=str(path),
        seen=str(error),
        next_step="free space on that disk, or choose a working folder that can be written",
    )
