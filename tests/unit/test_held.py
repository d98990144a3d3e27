"""What a server computes in that runs a model file as it is: by the file, and by its environment."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_servebench.as_asked import not_as_asked
from pytest_servebench.containers import ContainerFacts, Network
from pytest_servebench.held import CAST, NOT_OURS, Held, computed
from pytest_servebench.plan import Deployment, Device, ModelFormat, Precision
from pytest_servebench.results import Served

ENGINE = "Triton 2.59.0 onnxruntime backend"
ON_GPU = Served(engine=ENGINE, provider="CUDAExecutionProvider", device="cuda:0", options={"instances": "2"})
ON_CPU = Served(engine=ENGINE, provider="CPUExecutionProvider", device="cpu")


def container(tf32_override: str | None = None) -> ContainerFacts:
    """Return one in whose environment the override is so."""
    facts: dict[str, Any] = {"id": "c", "image": "i:1", "image_id": "sha256:1", "user": "7:7"}
    return ContainerFacts(**facts, network=Network.BRIDGE, tf32_override=tf32_override)


@pytest.mark.parametrize("held", ["fp16", "bf16", "int8"])
@pytest.mark.parametrize("served", [ON_GPU, ON_CPU])
def test_a_backend_that_casts_nothing_computes_in_what_the_file_holds(held: str, served: Served) -> None:
    """Whatever was asked, and whatever the file is called."""
    assert computed(served, Held(precision=held), container("0")).precision == held


@pytest.mark.parametrize(("override", "found"), [("0", "fp32"), (None, "tf32"), ("", "tf32"), ("1", "tf32")])
def test_fp32_on_a_gpu_is_tf32_unless_the_containers_environment_forbids_it(
    override: str | None, found: str
) -> None:
    """As the container has it, not as it was to have it: an image may set it too. Only 0 forbids."""
    served = computed(ON_GPU, Held(precision="fp32"), container(override))
    assert served.precision == found
    assert served.options == {"instances": "2", "tf32": "on" if found == "tf32" else "off"}


def test_fp32_on_a_cpu_is_fp32() -> None:
    """No CPU has TF32."""
    assert computed(ON_CPU, Held(precision="fp32"), None).precision == "fp32"


@pytest.mark.parametrize("device", ["cuda:0", None])
def test_where_the_environment_or_the_device_is_not_known_fp32_is_not_claimed(device: str | None) -> None:
    """Not known, with the reason: never the flattering one of the two."""
    served = Served(engine=ENGINE, device=device)
    found = computed(served, Held(precision="fp32"), None if device else container("0"))
    assert found.precision is None
    (warning,) = found.warnings
    assert warning.endswith("and whether it computes fp32 in TF32 cannot be seen")


@pytest.mark.parametrize("held", [NOT_OURS, CAST, Held(absent="model.onnx has no weights that say it")])
def test_a_file_that_does_not_tell_leaves_it_unknown_and_says_why(held: Held) -> None:
    """Missing is not passing: the precision stays None, and one sentence tells the reason."""
    found = computed(ON_GPU, held, container("0"))
    assert found.precision is None
    assert found.warnings == (f"its precision is not known: {ENGINE} does not tell it, and {held.absent}",)


def test_what_a_server_says_itself_stays() -> None:
    """Its own word, and its own silence, go before the file."""
    said = Served(engine=ENGINE, device="cuda:0", precision="fp16")
    silent = Served(absent="its log is not ours to read")
    for served in (said, silent):
        assert computed(served, Held(precision="int8"), container("0")) is served


PLAN = Held(precision="fp16", layers={"fp16": 52, "fp32": 2})


def test_a_plans_own_kernels_decide_whatever_the_environment_says() -> None:
    """They were chosen when it was built; how many are of which precision is among the options."""
    served = computed(ON_GPU, PLAN, container(None))
    assert served.precision == "fp16"
    assert served.options["layers"] == "52 fp16, 2 fp32"
    assert served.warnings == ()
    in_fp32 = Held(precision="fp32", layers={"fp32": 54})
    assert computed(ON_GPU, in_fp32, container(None)).precision == "fp32"


def test_a_plan_that_is_a_mixture_is_told() -> None:
    """A builder that may lower layers leaves those in fp32 that are faster so: a record has to say it."""
    served = computed(ON_GPU, Held(precision="bf16", layers={"bf16": 40, "fp32": 14}), container("0"))
    assert served.precision == "bf16"
    (warning,) = served.warnings
    assert warning == "14 of the plan's 54 convolutions and products are not computed in bf16"


def test_a_plan_whose_layers_do_not_tell_is_unknown() -> None:
    """What could be counted is kept beside the reason."""
    held = Held(layers={"unknown": 30, "fp16": 24}, absent="30 do not say it")
    served = computed(ON_GPU, held, container("0"))
    assert (served.precision, served.options["layers"]) == (None, "30 unknown, 24 fp16")
    assert served.warnings[0].endswith("and 30 do not say it")


def test_a_plan_asked_in_half_that_computes_in_single_is_not_as_asked() -> None:
    """The case fails by that name: what was measured is another one."""
    asked = Deployment(
        stack="triton",
        model="resnet50",
        format=ModelFormat.TENSORRT,
        device=Device("cuda"),
        precision=Precision.FP16,
    )
    plan = Served(engine="Triton 2.59.0 tensorrt backend", provider="TensorRT", device="cuda:0")
    lowered = computed(plan, Held(precision="fp32", layers={"fp32": 50, "fp16": 4}), container("0"))
    assert not_as_asked(asked, lowered, "docker") == (
        "asked for fp16, but Triton 2.59.0 tensorrt backend computes in fp32",
    )
    assert not_as_asked(asked, computed(plan, PLAN, container("0")), "docker") == ()
