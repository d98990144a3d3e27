"""What a server says of itself, beside what was asked of it: faults, warnings, and silence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.as_asked import not_as_asked, warnings_of
from pytest_servebench.plan import CPU, Decoder, Deployment, Device, LauncherKind, ModelFormat, Precision
from pytest_servebench.results import Served

PROCESS, DOCKER, ATTACH = LauncherKind.PROCESS, LauncherKind.DOCKER, LauncherKind.ATTACH
FIRST = Device("cuda", 0)
ORT = "onnxruntime 1.31.1"
CPU_PROVIDER, CUDA_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
ON_GPU = Served(engine=ORT, provider=CUDA_PROVIDER, device="cuda:0", precision="fp32")
ON_CPU = Served(engine=ORT, provider=CPU_PROVIDER, device="cpu", precision="fp32")

devices = st.one_of(
    st.just(CPU),
    st.sets(st.integers(0, 7), min_size=1).map(
        lambda some: Device("cuda", min(some), tuple(sorted(some - {min(some)})))
    ),
)
launchers = st.sampled_from(LauncherKind)


def asked(device: Device = FIRST, **more: Any) -> Deployment:
    """Return a deployment on ``device``."""
    given_: dict[str, Any] = {"format": ModelFormat.ONNX, **more}
    return Deployment(stack="fastapi", model="resnet50", device=device, **given_)


deployments = st.builds(
    asked, devices, format=st.sampled_from(ModelFormat), precision=st.sampled_from(Precision)
)


def as_it_was_asked(deployment: Deployment, launcher: str) -> Served:
    """Return what a server says that does what it was asked to."""
    count, on_cpu = len(deployment.device.indexes), deployment.device.kind == "cpu"
    inside = Device("cuda", 0, tuple(range(1, count))) if launcher == DOCKER and count else deployment.device
    provider = CPU_PROVIDER if on_cpu else CUDA_PROVIDER
    return Served(
        engine=ORT,
        provider=TENSORRT if deployment.format is ModelFormat.TENSORRT and not on_cpu else provider,
        device=str(inside),
        precision=str(deployment.precision),
        nodes={provider: 122},
    )


@given(deployments, launchers)
def test_a_server_that_does_as_asked_has_no_fault_and_no_warning(
    deployment: Deployment, launcher: LauncherKind
) -> None:
    """Whatever was asked, on however many GPUs; a container counts its own from 0."""
    if deployment.format is ModelFormat.TENSORRT and deployment.device.kind == "cpu":
        deployment = replace(deployment, device=FIRST)
    served = as_it_was_asked(deployment, launcher)
    assert not_as_asked(deployment, served, launcher) == ()
    assert warnings_of(deployment, served, launcher) == ()


@given(deployments, launchers, st.text())
def test_silence_is_neither_right_nor_wrong(deployment: Deployment, launcher: LauncherKind, why: str) -> None:
    """Missing is not passing, and it is no fault either: the record says why."""
    assert not_as_asked(deployment, Served(absent=why), launcher) == ()
    assert warnings_of(deployment, Served(absent=why), launcher) == ()


@given(deployments, launchers, st.data())
def test_a_word_that_is_left_out_makes_no_fault(
    deployment: Deployment, launcher: LauncherKind, data: st.DataObject
) -> None:
    """Each thing is judged by what is said of it alone."""
    if deployment.format is ModelFormat.TENSORRT and deployment.device.kind == "cpu":
        deployment = replace(deployment, device=FIRST)
    names = data.draw(st.sets(st.sampled_from(("engine", "provider", "device", "precision"))))
    left_out: dict[str, Any] = dict.fromkeys(names)
    served = replace(as_it_was_asked(deployment, launcher), **left_out)
    assert not_as_asked(deployment, served, launcher) == ()


@pytest.mark.parametrize(
    ("deployment", "served", "sentence"),
    [
        (asked(), ON_CPU, f"asked for cuda:0, but {ORT} computes on CPUExecutionProvider"),
        (asked(CPU), ON_GPU, f"asked for cpu, but {ORT} computes on CUDAExecutionProvider"),
        (
            asked(),
            replace(ON_GPU, nodes={CPU_PROVIDER: 121, CUDA_PROVIDER: 1}),
            f"asked for cuda:0, but {ORT} computes 121 of 122 nodes on CPUExecutionProvider",
        ),
        (
            asked(),
            Served(engine="torch 2.9", provider="libtorch", device="cpu"),
            "asked for cuda:0, but torch 2.9 computes on cpu",
        ),
        (asked(), Served(device="cpu"), "asked for cuda:0, but its engine computes on cpu"),
        (
            asked(Device("cuda", 1)),
            ON_GPU,
            f"asked for cuda:1, but {ORT} computes on cuda:0",
        ),
        (
            asked(precision=Precision.FP16),
            ON_GPU,
            f"asked for fp16, but {ORT} computes in fp32",
        ),
        (asked(), replace(ON_GPU, precision="tf32"), f"asked for fp32, but {ORT} computes in tf32"),
        (
            asked(format=ModelFormat.TENSORRT),
            ON_GPU,
            f"asked for tensorrt, but {ORT} computes by CUDAExecutionProvider",
        ),
        (
            asked(format=ModelFormat.TENSORRT),
            ON_CPU,
            f"asked for cuda:0, but {ORT} computes on CPUExecutionProvider",
        ),
    ],
)
def test_what_is_elsewhere_or_otherwise_is_named(
    deployment: Deployment, served: Served, sentence: str
) -> None:
    """Asked and seen in one sentence; one cause makes one fault."""
    assert not_as_asked(deployment, served) == (sentence,)


def test_two_faults_are_two_sentences() -> None:
    """A fall-back to the CPU often changes the arithmetic too: both are said."""
    faults = not_as_asked(asked(precision=Precision.FP16), ON_CPU)
    assert faults == (
        f"asked for cuda:0, but {ORT} computes on CPUExecutionProvider",
        f"asked for fp16, but {ORT} computes in fp32",
    )


@pytest.mark.parametrize(
    "provider", ["TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider", "torch_tensorrt", "TensorRT"]
)
def test_tensorrt_is_known_by_each_of_its_names(provider: str) -> None:
    """Two providers of onnxruntime, torch's and Triton's own: none of them is a fault."""
    served = Served(engine=ORT, provider=provider, device="cuda:0")
    assert not_as_asked(asked(format=ModelFormat.TENSORRT), served) == ()


def test_a_container_counts_its_gpu_from_zero() -> None:
    """Given ``cuda:3`` it says ``cuda:0``; one that it was not given is a fault there too."""
    deployment = asked(Device("cuda", 3))
    assert not_as_asked(deployment, ON_GPU, DOCKER) == ()
    assert not_as_asked(deployment, replace(ON_GPU, device="cuda:1"), DOCKER) != ()
    assert not_as_asked(deployment, ON_GPU, PROCESS) != ()


def test_one_of_several_gpus_speaks_for_itself() -> None:
    """Of many workers one is asked: it says its own GPU, which is one of those asked for."""
    several = asked(Device("cuda", 0, (1, 2)))
    one = replace(ON_GPU, device="cuda:2", one_of=3)
    assert not_as_asked(several, one) == ()
    (warning,) = warnings_of(several, one)
    assert warning == (
        "one of its 3 workers was asked, which computes on cuda:2: "
        "nothing says that the others compute on cuda:0,1"
    )
    assert not_as_asked(several, replace(ON_GPU, device="cuda:0,1,2")) == ()
    assert not_as_asked(several, replace(ON_GPU, device="cuda:0,3")) != ()
    assert not_as_asked(several, replace(one, device="cuda:3")) != ()


@pytest.mark.parametrize(
    ("launcher", "said", "missing"),
    [
        (PROCESS, "cuda:1", "cuda:3,5"),
        (PROCESS, "cuda:1,5", "cuda:3"),
        (PROCESS, "cuda:1,3,5", ""),
        (DOCKER, "cuda:0", "cuda:3,5"),
        (DOCKER, "cuda:0,2", "cuda:3"),
        (DOCKER, "cuda:0,1,2", ""),
        (PROCESS, "cuda", ""),
    ],
)
def test_a_server_over_several_gpus_that_is_on_fewer_is_named_with_what_is_missing(
    launcher: LauncherKind, said: str, missing: str
) -> None:
    """Half of what was asked for is not it; they are called as they were asked for, a container's too."""
    deployment, served = asked(Device("cuda", 1, (3, 5))), replace(ON_GPU, device=said)
    expected = f"asked for cuda:1,3,5, but {ORT} computes on {said} alone, not on {missing}"
    assert not_as_asked(deployment, served, launcher) == ((expected,) if missing else ())
    assert warnings_of(deployment, served, launcher) == ()


@pytest.mark.parametrize(("said", "fewer"), [("cuda:0", True), ("cuda:0,1", False), ("cuda:4,7", False)])
def test_an_attached_server_on_fewer_gpus_is_warned_of(said: str, fewer: bool) -> None:
    """Its address may be shared by several, each of which tells of itself."""
    deployment, served = asked(Device("cuda", 0, (1,))), replace(ON_GPU, device=said)
    warning = f"asked for cuda:0,1, but {ORT} says that it computes on {said} alone"
    assert not_as_asked(deployment, served, ATTACH) == ()
    assert warnings_of(deployment, served, ATTACH) == ((warning,) if fewer else ())


@given(st.integers(0, 200), st.integers(1, 200))
def test_nodes_on_the_cpu_are_a_warning_from_a_twentieth_on(on_cpu: int, on_gpu: int) -> None:
    """Shapes belong there; more than that is counted, and where it is most of all it is a fault."""
    served = replace(ON_GPU, nodes={CUDA_PROVIDER: on_gpu, CPU_PROVIDER: on_cpu})
    faults, warnings = not_as_asked(asked(), served), warnings_of(asked(), served)
    assert bool(faults) == (on_cpu > on_gpu)
    assert bool(warnings) == (not faults and on_cpu > 0.05 * (on_cpu + on_gpu))
    for sentence in (*faults, *warnings):
        assert f"{on_cpu} of {on_cpu + on_gpu} nodes" in sentence


def test_nodes_that_tensorrt_compiled_are_counted_one_by_one() -> None:
    """What it leaves to CUDA is no fault, what it leaves to the CPU is counted like that of any provider."""
    nodes = {TENSORRT: 118, CUDA_PROVIDER: 3, CPU_PROVIDER: 1}
    compiled, deployment = replace(ON_GPU, provider=TENSORRT, nodes=nodes), asked(format=ModelFormat.TENSORRT)
    assert (not_as_asked(deployment, compiled), warnings_of(deployment, compiled)) == ((), ())
    assert warnings_of(deployment, replace(compiled, nodes={**nodes, CPU_PROVIDER: 60})) != ()
    assert not_as_asked(deployment, replace(compiled, nodes={**nodes, CPU_PROVIDER: 200})) != ()


def test_an_attached_server_is_held_to_what_was_named_alone() -> None:
    """Nobody here placed it: ``cpu`` and ``fp32`` may only mean that nothing was said."""
    half = replace(ON_GPU, precision="fp16", device="cuda:5")
    assert not_as_asked(asked(CPU), half, ATTACH) == ()
    assert [sentence.rpartition(": ")[2] for sentence in warnings_of(asked(CPU), half, ATTACH)] == [
        "--serve-device names it",
        "--serve-dtype names it",
    ]
    assert not_as_asked(asked(), half, ATTACH) == ()
    assert not_as_asked(asked(), ON_CPU, ATTACH) == (
        f"asked for cuda:0, but {ORT} computes on CPUExecutionProvider",
    )
    assert len(not_as_asked(asked(precision=Precision.BF16), half, ATTACH)) == 1


@pytest.mark.parametrize("decoder", [Decoder.NVJPEG, Decoder.DALI])
@pytest.mark.parametrize("launcher", list(LauncherKind))
def test_a_decoder_of_gpus_that_became_pillow_is_a_fault(decoder: Decoder, launcher: LauncherKind) -> None:
    """It is never a silent fall-back; one that does not say what it decodes with is not known."""
    fell_back = replace(ON_GPU, options={"decoder": "pillow"})
    assert not_as_asked(asked(decoder=decoder), fell_back, launcher) == (
        f"asked for JPEG to be decoded by {decoder}, but {ORT} decodes by pillow",
    )
    assert not_as_asked(asked(decoder=decoder), replace(ON_GPU, options={"decoder": str(decoder)})) == ()
    assert not_as_asked(asked(decoder=decoder), ON_GPU) == ()


@pytest.mark.parametrize("decoder", [Decoder.AUTO, Decoder.PILLOW])
@pytest.mark.parametrize("said", ["pillow", "nvjpeg"])
def test_a_decoder_that_nobody_named_is_no_fault(decoder: Decoder, said: str) -> None:
    """A server chooses by ``auto``, and one that is sent no JPEG may have whichever it likes."""
    assert not_as_asked(asked(decoder=decoder), replace(ON_GPU, options={"decoder": said})) == ()
