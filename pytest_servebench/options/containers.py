"""What was said of images and containers (pure)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pytest_servebench.containers import ContainerSettings, ImageChoice, Ipc, Network
from pytest_servebench.options.given import Asked, Given, parse_member, parse_path, parse_truth
from pytest_servebench.options.placement import Placement
from pytest_servebench.plan import LauncherKind, Payload

SETTINGS_FORM = "KEY=VALUE[,KEY=VALUE]"
IMAGE_FORM = "STACK=REFERENCE[,...]"
ONLY_FOR_CONTAINERS = ("image", "image-base", "image-wheels", "plan-image", "container")

_SIZE = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?)(?P<unit>[kmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SMALLEST_BYTES = 6 * 2**20
"""What the engine takes as a limit of memory."""
_LARGEST_BYTES = 2**50
_CPUS = re.compile(r"[0-9]{1,4}(\.[0-9]*)?|\.[0-9]+")
_REFERENCE = re.compile(r"[a-z0-9][\w.\-/:@]*", re.ASCII)
_USER = re.compile(r"image|([0-9]{1,10})(?::([0-9]{1,10}))?")
_LARGEST_ID = 2**31 - 1
"""What the engine takes as the number of a user or a group."""


def parse_images(asked: Asked, offered: Collection[str]) -> dict[str, ImageChoice]:
    """Return what ``--serve-image``, ``-base``, ``-wheels`` and ``--serve-plan-image`` say, by stack."""
    base = _reference(asked["image-base"], asked["image-base"].text) if "image-base" in asked else ""
    wheels = _folder(asked["image-wheels"]) if "image-wheels" in asked else None
    plans = _reference(asked["plan-image"], asked["plan-image"].text) if "plan-image" in asked else ""
    every = ImageChoice(base=base, wheels_path=wheels, plan_image=plans)
    choices = dict.fromkeys(offered if base or wheels or plans else (), every)
    if "image" in asked:
        for name, reference in _pairs(asked["image"], offered, "STACK"):
            choice = choices.get(name, ImageChoice())
            choices[name] = replace(choice, reference=_reference(asked["image"], reference))
    return choices


def parse_container(given: Given) -> ContainerSettings:
    """Return the settings in ``memory=8g,cpus=4,network=host``; what is absent keeps its default."""
    read = {key: _SETTINGS[key][1](_part(given, key, text)) for key, text in _pairs(given, _SETTINGS, "KEY")}
    return ContainerSettings(**{_SETTINGS[key][0]: value for key, value in read.items()})


def container_for(asked: Asked, payload: Payload, launcher: LauncherKind) -> ContainerSettings:
    """Return what was asked of containers, and the host's shared memory where the payload lies in it.

    Who says what memory a container has, whose (``ipc``) or how much of its own (``shm``), is left at that.
    """
    given = asked.get("container")
    settings = ContainerSettings() if given is None else parse_container(given)
    said = set() if given is None else {key for key, _ in _pairs(given, _SETTINGS, "KEY")}
    lies_in_it = payload is Payload.SHM and launcher is LauncherKind.DOCKER
    return replace(settings, ipc=Ipc.HOST) if lies_in_it and not said & {"ipc", "shm"} else settings


def check_used(asked: Asked, placement: Placement) -> None:
    """Refuse options of this command line that nothing would come of, because nothing runs in a container."""
    if placement.launcher is LauncherKind.DOCKER:
        return
    for key in ONLY_FOR_CONTAINERS:
        if key in asked and asked[key].source == "command line":
            raise asked[key].wrong(
                f"is about containers, and the launcher is {placement.launcher}",
                seen=placement.launcher_reason,
                next_step="add --serve-launcher=docker, or leave it out",
            )


def _pairs(given: Given, known: Collection[str], word: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for part in given.parts():
        key, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator or not value:
            raise given.wrong(f"has a part that is not {word}=VALUE: {part!r}", next_step=_form(word, known))
        if key not in known:
            raise given.unknown(key, known)
        if key in seen:
            raise given.wrong(f"gives {key} twice", seen=given.text, next_step="give it once")
        seen.add(key)
        yield key, value


def _form(word: str, known: Collection[str]) -> str:
    return f"give {word}=VALUE for one of: {', '.join(known)}"


def _part(given: Given, key: str, text: str) -> Given:
    return replace(given, flag=f"{given.flag}: {key}", text=text)


def _reference(given: Given, text: str) -> str:
    if not _REFERENCE.fullmatch(text.strip()):
        raise given.wrong(
            f"is not the name of an image: {text!r}", next_step="give it as docker pull takes it: NAME:TAG"
        )
    return text.strip()


def _folder(given: Given) -> Path:
    path = parse_path(given)
    if not os.path.isdir(path):  # noqa: PTH112 (never raises, whatever the name)
        raise given.wrong(
            f"is not a folder: {path}",
            next_step="fill one with deploy/wheels.sh, or leave it out to use the index",
        )
    return path.resolve()


def _bytes(given: Given) -> int:
    match = _SIZE.fullmatch(given.text)
    size = math.nan if match is None else float(match["number"]) * _UNITS[match["unit"].lower()]
    if not _SMALLEST_BYTES <= size <= _LARGEST_BYTES:
        raise given.wrong(
            f"is not a size from 6m to 1024t: {given.text!r}",
            next_step="give bytes, or a number with a unit: 512m, 8g",
        )
    return int(size)


def _cpus(given: Given) -> float:
    cpus = float(given.text) if _CPUS.fullmatch(given.text) else math.nan
    if not 0.01 <= cpus <= 4096:  # noqa: PLR2004 (what the engine takes, and more than machines have)
        raise given.wrong(f"is not a number of CPUs: {given.text!r}", next_step="give one, as in 4 or 1.5")
    return cpus


def _user(given: Given) -> str:
    match = _USER.fullmatch(given.text)
    if match is None or any(int(number) > _LARGEST_ID for number in match.groups() if number):
        raise given.wrong(
            f"is not a user: {given.text!r}", next_step="give UID, UID:GID, or image for whom the image names"
        )
    return given.text


_SETTINGS: Mapping[str, tuple[str, Callable[[Given], Any]]] = {
    "network": ("network", partial(parse_member, vocabulary=Network)),
    "ipc": ("ipc", partial(parse_member, vocabulary=Ipc)),
    "shm": ("shm_bytes", _bytes),
    "memory": ("memory_bytes", _bytes),
    "cpus": ("cpus", _cpus),
    "init": ("init", parse_truth),
    "user": ("user", _user),
}
"""The field of `ContainerSettings` that each key sets, and how its value is read."""
