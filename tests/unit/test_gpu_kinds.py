"""Which GPUs a name in a profile means."""

from __future__ import annotations

import pytest

from pytest_servebench.gpu_kinds import is_gpu


@pytest.mark.parametrize(
    ("asked", "reported"),
    [
        ("RTX 4090", "NVIDIA GeForce RTX 4090"),
        ("rtx 4090", "NVIDIA GeForce RTX 4090"),
        ("NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090"),
        ("RTX 4090 Laptop", "NVIDIA GeForce RTX 4090 Laptop GPU"),
        ("RTX 4090*", "NVIDIA GeForce RTX 4090 Laptop GPU"),
        ("GeForce*", "NVIDIA GeForce RTX 4090"),
        ("H100", "NVIDIA H100 80GB HBM3"),
        ("H100", "NVIDIA H100 PCIe"),
        ("H100 NVL", "NVIDIA H100 NVL"),
        ("H200", "NVIDIA H200"),
        ("T4", "Tesla T4"),
        ("A100", "NVIDIA A100-SXM4-40GB"),
        ("V100", "Tesla V100-SXM2-16GB"),
        ("H100 80GB HBM3 MIG 1g.10gb", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"),
    ],
)
def test_a_name_means_its_kind(asked: str, reported: str) -> None:
    """Whatever stands before it, and however much memory it has or how it is connected."""
    assert is_gpu(asked, reported)


@pytest.mark.parametrize(
    ("asked", "reported"),
    [
        ("RTX 4090", "NVIDIA GeForce RTX 4090 Laptop GPU"),
        ("RTX 4090", "NVIDIA GeForce RTX 4090 D"),
        ("RTX 4070", "NVIDIA GeForce RTX 4070 Ti SUPER"),
        ("RTX 4090", "NVIDIA GeForce RTX 3090"),
        ("H100", "NVIDIA H200"),
        ("H200", "NVIDIA GH200 480GB"),
        ("H100 NVL", "NVIDIA H100 PCIe"),
        ("T4", "NVIDIA T400 4GB"),
        ("T4", "GRID T4-16Q"),
        ("A10", "NVIDIA A100-SXM4-40GB"),
        ("A10", "NVIDIA A10G"),
        ("L4", "NVIDIA L40S"),
        ("H100", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"),
        ("RTX 4090", ""),
    ],
)
def test_a_near_name_is_another_kind(asked: str, reported: str) -> None:
    """A limit for a card is not one for its laptop form, a part of it, or another whose name begins so."""
    assert not is_gpu(asked, reported)
