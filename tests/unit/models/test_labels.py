from __future__ import annotations

from pytest_servebench.models.images import EXPECTED_CLASSES
from pytest_servebench.models.labels import imagenet_labels


def test_there_are_1000_different_names() -> None:
    """A class name says which class it is: no name stands twice, none is empty."""
    labels = imagenet_labels()
    assert len(labels) == len(set(labels)) == 1000
    assert all(label and label == label.strip() for label in labels)


def test_names_stand_in_order_of_class_id() -> None:
    """Names known from ImageNet's own list stand at their ids."""
    labels = imagenet_labels()
    known = {0: "tench", 285: "Egyptian cat", 657: "missile", 967: "espresso", 999: "toilet tissue"}
    assert {index: labels[index] for index in known} == known


def test_the_photographs_show_what_their_names_say() -> None:
    """The class ids expected of the photographs are the classes one sees in them."""
    names = {name: imagenet_labels()[index] for name, index in EXPECTED_CLASSES.items()}
    assert names == {"chelsea": "Egyptian cat", "coffee": "espresso", "rocket": "missile"}
