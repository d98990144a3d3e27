"""What a reader is warned of, in words, and what is no trouble."""

from __future__ import annotations

import pytest

from pytest_servebench.results import Telemetry
from pytest_servebench.telemetry.beside import with_joules_per_image
from pytest_servebench.telemetry.cautions import warnings_of


@pytest.mark.parametrize(
    ("telemetry", "warnings"),
    [
        (Telemetry(), []),
        (Telemetry(gpu_shared_with=0, gpu_throttle={}, other_cpu_cores=0.2, server_throttled_share=0.0), []),
        (Telemetry(gpu_shared_with=1), ["the GPU is shared with 1 other process"]),
        (
            Telemetry(gpu_shared_with=2, gpu_other_memory_bytes=3_000_000_000),
            ["the GPU is shared with 2 other processes: 3.0 GB of its memory are theirs"],
        ),
        (
            Telemetry(gpu_throttle={"sw_power_cap": 0.8, "gpu_idle": 1.0, "display_clock_setting": 1.0}),
            ["clocks were held down: sw_power_cap in 80% of samples"],
        ),
        (
            Telemetry(gpu_scope="mig", gpu_energy_j=5.0),
            ["power and energy are those of the whole GPU, of which the server has a part (MIG)"],
        ),
        (
            Telemetry(other_cpu_cores=0.9),
            ["other programs used 0.9 of the 2 cores that server and client may use"],
        ),
        (
            Telemetry(server_throttled_share=0.37),
            ["a limit of CPU time (cgroup) held the server back in 37% of its periods"],
        ),
    ],
)
def test_each_disturbance_is_a_sentence(telemetry: Telemetry, warnings: list[str]) -> None:
    """A sentence for each, and none for what is absent, what is 0, and what somebody chose."""
    assert list(warnings_of(telemetry, cores=2)) == warnings


def test_a_split_gpu_is_told() -> None:
    """Where nobody said which part is the server's, the figures are the whole GPU's."""
    (sentence,) = warnings_of(Telemetry(gpu_scope="device"), cores=2, is_split=True)
    assert sentence.startswith("the GPU is split into parts (MIG) and CUDA_VISIBLE_DEVICES names none")


@pytest.mark.parametrize(
    ("telemetry", "images", "publishable", "joules", "reason"),
    [
        (Telemetry(gpu_energy_j=50.0, absent={"joules_per_image": "not yet"}), 200, True, 0.25, None),
        (Telemetry(gpu_energy_j=50.0), 0, True, None, "no image was answered correctly"),
        (Telemetry(gpu_energy_j=50.0), 200, False, None, "the run is not published"),
        (Telemetry(absent={"gpu_energy_j": "no driver"}), 200, True, None, "no driver"),
        (Telemetry(), 200, True, None, "the energy of its GPU was not read"),
    ],
)
def test_energy_is_shared_out_among_correct_images(
    telemetry: Telemetry, images: int, publishable: bool, joules: float | None, reason: str | None
) -> None:
    """Joules per image are of correct ones in a run that may be published; else None, with the reason."""
    found = with_joules_per_image(telemetry, images, publishable=publishable)
    assert found.joules_per_image == joules
    assert found.absent.get("joules_per_image") == reason
