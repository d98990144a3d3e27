"""Shared memory around a case: there while it is asked and loaded, and gone whatever happens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pytest_servebench.plan import (
    Case,
    Image,
    Payload,
    WireProtocol,
    WireRequest,
)
from pytest_servebench.results import Validity
from pytest_servebench.runner import ask_case, run_case
from pytest_servebench.sharing.shared_memory import FOLDER
from pytest_servebench.sharing.shared_requests import SharedRequests
from tests.echo_house import EchoHouse, Onlooker, case, said
from tests.echo_stack import Echo


@dataclass(frozen=True, kw_only=True)
class SharingEcho(Echo):
    """Says that its tensors lie in shared memory, and names the images in its requests all the same."""

    payloads: frozenset[Payload] = frozenset({Payload.SHM})

    def share(self, case: Case, groups: Sequence[Sequence[Image]], region: str) -> SharedRequests:
        told = [
            WireRequest(protocol=WireProtocol.HTTP, path=f"/{verb}/{region}", body=b"")
            for verb in ("register", "unregister")
        ]
        return SharedRequests(
            region=region,
            tensors=tuple(image.tensor for group in groups for image in group),
            requests=tuple(self.encode(case, group) for group in groups),
            register=told[0],
            unregister=told[1],
        )


def shared_case(items: int = 1) -> Case:
    """Return a case of shared memory."""
    return replace(case(items=items), payload=Payload.SHM)


def ours() -> list[Path]:
    """Return the regions of this process."""
    return sorted(FOLDER.glob(f"servebench-{os.getpid()}-*"))


def test_shared_memory_is_there_while_a_case_is_asked_and_loaded() -> None:
    """Registered before the first answer, gone after the last; answers are verified as ever."""
    house = EchoHouse(stacks=[SharingEcho()])
    seen: list[list[Path]] = []
    house.answers = lambda images: (seen.append(ours()), said(images))[1]  # type: ignore[func-returns-value]
    result = run_case(shared_case(items=3), house.rooms, house.pool, Onlooker())
    assert result.validity is Validity.VALID
    assert result.before is not None
    assert result.before.compared == 18
    assert all(len(regions) == 1 for regions in seen)
    assert [path.split("/")[1] for path in house.commands if "servebench-" in path] == [
        "register",
        "unregister",
    ]
    assert ours() == []
    ask_case(shared_case(), house.rooms, house.pool)
    assert ours() == []


def test_ctrl_c_in_a_case_leaves_no_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is told, and the region is gone, before the interrupt reaches anybody else."""
    house = EchoHouse(stacks=[SharingEcho()])

    def interrupt(*_: object) -> None:
        assert len(ours()) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(type(house.driver), "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_case(shared_case(), house.rooms, house.pool, Onlooker())
    assert house.commands[-1].startswith("/unregister/")
    assert ours() == []
