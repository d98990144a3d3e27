"""Does every stack say the same, and is it right?"""

from __future__ import annotations

import pytest

from pytest_servebench import Case, Servebench

PHOTOGRAPHS = {"chelsea": "Egyptian cat", "coffee": "espresso", "rocket": "missile"}
"""Photographs that ship with scikit-image, and what they show."""


@pytest.mark.servebench(
    model="efficientnet_lite0",
    images="photographs",
    arrivals="closed",
    payloads=("tensor", "jpeg"),
    protocols=("http", "grpc"),
    once=True,
)
def test_parity(servebench: Servebench, case: Case) -> None:
    """Real ImageNet weights name real photographs, alike on every stack, format and payload.

    Every stack is compared with the model in process, so what equals it is equal among them.
    """
    answers = servebench.ask(case)
    seen = {name: answer.class_names[0] for name, answer in answers.items() if name in PHOTOGRAPHS}
    assert seen == PHOTOGRAPHS
    # Eight bits may change the first class of a photograph that stands between two.
    if case.deployment.precision not in {"bf16", "int8"}:
        assert all(answer.class_ids[0] == answer.reference_class_id for answer in answers.values())
