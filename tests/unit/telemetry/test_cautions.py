"""What a reader is warned of, in words, and what is no trouble."""

from __future__ import annotations

import pytest

from pytest_servebench.results import Telemetry
from pytest_servebench.telemetry.beside import with_joules_per_image
from pytest_servebench.telemetry.cautions import warnings_of
from pytest_servebench.telemetry.gpu_window import THROTTLE_WORDS, GpuReading


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
            ["clocks were held down by the power limit (sw_power_cap) in 80% of samples"],
        ),
        (Telemetry(gpu_power_limit_w=450.0, gpu_power_default_w=450.0), []),
        (Telemetry(gpu_power_limit_w=600.0, gpu_power_default_w=450.0), []),
        (
            Telemetry(gpu_power_limit_w=300.0, gpu_power_default_w=450.0),
            ["the power limit is set to 300 W, by default it is 450 W"],
        ),
        (
            Telemetry(
                gpu_throttle={"applications_clocks_setting": 1.0},
                gpu_sm_clock_mhz=1410.0,
                gpu_sm_clock_max_mhz=1980.0,
            ),
            ["clocks are set: 1410 MHz, of 1980 MHz that the GPU can have"],
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


def test_every_reason_for_low_clocks_has_words() -> None:
    """NVML's own words follow in parentheses; those that are no trouble are not told."""
    shares = dict.fromkeys(THROTTLE_WORDS.values(), 0.5)
    told = warnings_of(Telemetry(gpu_throttle=shares), cores=2)
    quiet = {"gpu_idle", "applications_clocks_setting", "display_clock_setting"}
    assert [sentence.partition("(")[2].partition(")")[0] for sentence in told] == [
        word for word in THROTTLE_WORDS.values() if word not in quiet
    ]
    assert not any("by the driver (" in sentence for sentence in told)


def test_several_gpus_are_told_apart() -> None:
    """Each has its own sentences, and one on which the server is not found is named."""
    gpus = {
        "cuda:0": GpuReading(gpu_scope="processes", gpu_shared_with=1),
        "cuda:1": GpuReading(gpu_scope="device", gpu_throttle={"hw_thermal_slowdown": 0.25}),
    }
    assert list(warnings_of(Telemetry(gpu_shared_with=1), cores=2, gpus=gpus)) == [
        "cuda:0: the GPU is shared with 1 other process",
        "cuda:1: clocks were held down by the hardware, for heat (hw_thermal_slowdown) in 25% of samples",
        "cuda:1: no process of the server was found on it, but on cuda:0",
    ]
    unseen = {device: GpuReading(gpu_scope="device") for device in gpus}
    assert warnings_of(Telemetry(), cores=2, gpus=unseen) == ()


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
