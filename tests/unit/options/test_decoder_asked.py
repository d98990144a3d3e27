"""What decodes JPEG: asked at the door, refused where it cannot be, and in the deployments of such cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from pytest_servebench.containing import stacks_of
from pytest_servebench.errors import PlanError
from pytest_servebench.options.cases import cases_for
from pytest_servebench.plan import Decoder
from pytest_servebench.stacks.fastapi import Fastapi
from pytest_servebench.stacks.torchserve import Torchserve
from pytest_servebench.stacks.triton import Triton
from tests.asking import DOCKER, NO_GPU, ONE_GPU, offers, plan
from tests.offered_stack import BareStack


@dataclass(frozen=True)
class _Fastapi(Fastapi):
    def missing(self, formats: Any) -> tuple[()]:
        return ()


@dataclass(frozen=True)
class _Triton(Triton):
    def missing(self, formats: Any) -> tuple[()]:
        return ()


@dataclass(frozen=True)
class _Torchserve(Torchserve):
    def missing(self, formats: Any) -> tuple[()]:
        return ()


REAL: Any = {"fastapi": _Fastapi(), "triton": _Triton(), "torchserve": _Torchserve()}
"""Our own stacks, as if everything they need were installed."""


def asked(surroundings: Any = ONE_GPU, **more: str) -> dict[str, set[Decoder]]:
    """Return by stack what the deployments of a plan's cases decode with."""
    options: dict[str, Any] = {"format": "onnx", "payload": "jpeg", **more}
    chosen = plan(surroundings, offered=REAL, **options)
    found: dict[str, set[Decoder]] = {}
    for case in cases_for(chosen, stacks_offer=stacks_of(chosen, REAL)):
        found.setdefault(case.stack, set()).add(case.deployment.decoder)
    return found


@pytest.mark.parametrize("decoder", ["pillow", "nvjpeg", "dali"])
@pytest.mark.parametrize("payload", ["tensor", "uint8", ""])
def test_a_decoder_without_jpeg_is_refused(decoder: str, payload: str) -> None:
    """It would say that something was measured which was not."""
    named: dict[str, Any] = {"payload": payload} if payload else {}
    with pytest.raises(PlanError) as caught:
        plan(ONE_GPU, decoder=decoder, **named)
    assert str(caught.value) == (
        f"--serve-decoder is {decoder}, and the payload is {payload or 'tensor'}: "
        "there is no JPEG to decode\n"
        "  where: command line\n"
        "  next: add --serve-payload=jpeg, or leave --serve-decoder out"
    )
    assert plan(ONE_GPU, decoder="auto", **named).decoder is Decoder.AUTO


def test_an_unknown_decoder_is_told_which_there_are() -> None:
    """The error names the option and its values."""
    with pytest.raises(PlanError) as caught:
        plan(ONE_GPU, payload="jpeg", decoder="nvjpg")
    assert str(caught.value) == (
        "--serve-decoder does not know 'nvjpg': did you mean nvjpeg?\n"
        "  where: command line\n"
        "  next: use one of: auto, pillow, nvjpeg, dali"
    )


def test_on_a_cpu_everything_is_decoded_by_pillow() -> None:
    """There is nothing to choose, and a case with tensors has the same deployment, so the same server."""
    pillow = {name: {Decoder.PILLOW} for name in REAL}
    assert asked(NO_GPU, stack="fastapi,triton,torchserve") == pillow
    assert asked(NO_GPU, stack="fastapi,triton,torchserve", decoder="pillow") == pillow


def test_on_a_gpu_servers_choose_where_they_have_a_choice() -> None:
    """NVIDIA's image of Triton has no torch, so its preprocessing is Pillow's unless DALI is asked for."""
    auto, pillow, nvjpeg = {Decoder.AUTO}, {Decoder.PILLOW}, {Decoder.NVJPEG}
    every = "fastapi,triton,torchserve"
    assert asked(stack=every, launcher="process") == dict.fromkeys(REAL, auto)
    assert asked(DOCKER, stack=every) == {"fastapi": auto, "triton": pillow, "torchserve": auto}
    assert asked(stack=every, launcher="process", decoder="pillow") == dict.fromkeys(REAL, pillow)
    assert asked(stack=every, launcher="process", decoder="nvjpeg") == dict.fromkeys(REAL, nvjpeg)
    assert asked(DOCKER, stack="triton", decoder="dali") == {"triton": {Decoder.DALI}}


@pytest.mark.parametrize("payload", ["tensor", "uint8"])
def test_cases_without_jpeg_leave_the_decoder_alone(payload: str) -> None:
    """A server that is sent none has no memory of a GPU to give away for it."""
    assert asked(stack="fastapi", payload=payload, launcher="process") == {"fastapi": {Decoder.PILLOW}}


@pytest.mark.parametrize("decoder", ["nvjpeg", "dali"])
def test_a_decoder_of_gpus_needs_one(decoder: str) -> None:
    """It is refused with the reason for the device, not found out by a server that does not start."""
    with pytest.raises(PlanError) as caught:
        asked(NO_GPU, stack="triton", decoder=decoder)
    assert str(caught.value) == (
        f"--serve-decoder={decoder} decodes on a GPU, and this runs on cpu\n"
        "  seen: the NVIDIA driver is not installed\n"
        "  next: use --serve-device=cuda where there is one; else --serve-decoder=pillow"
    )


def test_dali_needs_nvidias_image() -> None:
    """The server in the wheel has the Python backend alone."""
    with pytest.raises(PlanError) as caught:
        asked(stack="triton", launcher="process", decoder="dali")
    assert str(caught.value) == (
        "--serve-decoder=dali needs Triton's DALI backend, which only NVIDIA's image has\n"
        "  where: triton, --serve-launcher=process\n"
        "  next: use --serve-launcher=docker; or --serve-decoder=nvjpeg, by torchvision"
    )


def test_a_stack_without_the_decoder_says_who_has_it() -> None:
    """``available`` leaves it out for the same reason."""
    with pytest.raises(PlanError) as caught:
        asked(DOCKER, stack="triton", decoder="nvjpeg")
    assert str(caught.value) == (
        "--serve-decoder=nvjpeg is not offered by triton\n"
        "  where: --serve-launcher=docker, --serve-device=cuda:0\n"
        "  next: triton has dali, pillow; stacks that have it: fastapi, torchserve; or use --stack=available"
    )
    assert asked(DOCKER, stack="available", decoder="dali") == {"triton": {Decoder.DALI}}
    left_out = plan(DOCKER, offered=REAL, stack="available", payload="jpeg", decoder="dali").left_out
    assert left_out["fastapi"] == "--serve-decoder=dali is not offered by fastapi"
    with pytest.raises(PlanError, match="--serve-decoder=nvjpeg is not offered by bare"):
        plan(ONE_GPU, offered=offers(BareStack("bare")), stack="bare", payload="jpeg", decoder="nvjpeg")


def test_what_an_attached_server_decodes_with_is_its_own_affair() -> None:
    """One is asked as it wants to be asked, and what it says is judged; unasked it is not told to choose."""
    here = "http://127.0.0.1:8000"
    for name, decoder in (("triton", "dali"), ("triton", "nvjpeg"), ("fastapi", "nvjpeg")):
        assert asked(NO_GPU, stack=f"{name}={here}", decoder=decoder) == {name: {Decoder(decoder)}}
    assert asked(ONE_GPU, stack=f"fastapi={here}", device="cuda") == {"fastapi": {Decoder.PILLOW}}
