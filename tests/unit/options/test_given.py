"""The text of one option becomes a value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_servebench.errors import PlanError
from pytest_servebench.options.given import (
    Given,
    parse_count,
    parse_counts,
    parse_device,
    parse_formats,
    parse_path,
    parse_percent,
    parse_seconds,
    parse_stacks,
    parse_truth,
    parse_warmup,
)
from pytest_servebench.plan import CPU, Device
from tests.asking import given
from tests.offered_stack import (
    THREE,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("2.5", 2.5), (".5s", 0.5), ("10s", 10), ("500ms", 0.5), ("2m", 120), ("1 h", 3600)],
)
def test_a_time_is_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    """Times read as people write them."""
    assert parse_seconds(given(text), least_s=0.1) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "1e3", "10 parsecs", "25h", "1,2"])
def test_a_time_that_is_none_says_how_to_write_one(text: str) -> None:
    """Nonsense, zero and endless times are refused with an example."""
    with pytest.raises(PlanError, match=r"--serve-x is not a time from 0.1 s to 24 h[\s\S]*10s, 500ms, 2m"):
        parse_seconds(given(text), least_s=0.1)


def test_counts_keep_their_order_and_lose_repetitions() -> None:
    """A batch size given twice is one batch size."""
    assert parse_counts(given("32, 1,8,1")) == (32, 1, 8)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "eight", "9999999"])
def test_a_count_is_a_whole_number_from_one(text: str) -> None:
    """What cannot be counted is refused and quoted."""
    with pytest.raises(PlanError, match=f"--serve-x is not a whole number from 1: '{text}'"):
        parse_counts(given(text))


def test_a_count_may_have_an_end() -> None:
    """What memory or an engine could not hold is refused before anything is started."""
    assert parse_counts(given("1,1024"), 1024) == (1, 1024)
    with pytest.raises(PlanError, match="--serve-x is not a whole number from 1 to 1024: '1025'"):
        parse_counts(given("1,1025"), 1024)


def test_of_several_counts_the_wrong_one_is_quoted() -> None:
    """The message points at the part that is wrong."""
    with pytest.raises(PlanError) as caught:
        parse_counts(given("1,x"))
    assert caught.value.what == "--serve-x is not a whole number from 1: 'x'"
    assert caught.value.next_step == "give a number, as in 8, or several, as in 1,8,32"


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), (" .5 %", 0.005), ("50%", 0.5), ("0.1%", 0.001)])
def test_a_percentage_carries_its_sign(text: str, share: float) -> None:
    """5 and 0.05 could each mean the other."""
    assert parse_percent(given(text)) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "0.05", "", "%", "0%", "-1%", "51%", "0.01%", "5%%", "five%"])
def test_what_is_no_percentage_says_so(text: str) -> None:
    """The range and the form are told."""
    with pytest.raises(PlanError) as caught:
        parse_percent(given(text))
    assert caught.value.what == f"--serve-x is not a percentage from 0.1% to 50%: {text!r}"
    assert caught.value.next_step == "give a number with its sign, as in 5%"


def test_a_warm_up_is_a_time_or_ends_by_itself() -> None:
    """A slip names both."""
    assert parse_warmup(given("500ms"), auto_s=9.0) == (0.5, False)
    assert parse_warmup(given(" auto "), auto_s=9.0) == (9.0, True)
    with pytest.raises(PlanError) as caught:
        parse_warmup(given("atuo"), auto_s=9.0)
    assert caught.value.what == "--serve-x is neither auto nor a time from 0 s to 24 h: 'atuo'"
    assert caught.value.next_step == "give auto, or seconds, or a number with a unit: 10, 10s, 500ms, 2m"


@pytest.mark.parametrize("text", ["", "1,,2", "onnx,"])
def test_an_empty_part_is_an_error(text: str) -> None:
    """A list with a hole is a slip, not a shorter list."""
    with pytest.raises(PlanError, match="--serve-x has an empty value"):
        parse_counts(given(text))


def test_one_count_is_not_a_list() -> None:
    """An option for one number does not take two."""
    with pytest.raises(PlanError, match="not a whole number from 1: '1,2'"):
        parse_count(given("1,2"))


def test_truth_has_four_spellings_each() -> None:
    """Switches read as ini files write them."""
    assert [parse_truth(given(word)) for word in ("true", "Yes", "on", "1")] == [True] * 4
    assert [parse_truth(given(word)) for word in ("false", "No", "off", "0")] == [False] * 4
    with pytest.raises(PlanError, match="neither true nor false: 'maybe'"):
        parse_truth(given("maybe"))


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("auto", None),
        ("cpu", CPU),
        ("cuda", Device("cuda", 0)),
        ("cuda:3", Device("cuda", 3)),
        ("cuda:0,2", Device("cuda", 0, (2,))),
    ],
)
def test_a_device_reads_as_it_prints(text: str, device: Device | None) -> None:
    """The vocabulary of devices is the one they are printed with."""
    assert parse_device(given(text)) == device


@pytest.mark.parametrize(
    "text", ["gpu", "cuda:", "cuda:x", "cpu:1", "cuda:-1", "", "cuda:0,", "cuda:,1", "cuda:0,all", "cpu:all"]
)
def test_an_unknown_device_lists_the_known(text: str) -> None:
    """A wrong device names those there are."""
    with pytest.raises(PlanError, match="use one of: auto, cpu, cuda, cuda:N, cuda:N,M, cuda:all"):
        parse_device(given(text))


def test_several_gpus_are_one_device() -> None:
    """In whichever order they are named; ``all`` are as many as there are, and none is named twice."""
    assert parse_device(given("cuda:2,0,1")) == Device("cuda", 0, (1, 2))
    assert parse_device(given("cuda:all"), 3) == Device("cuda", 0, (1, 2))
    with pytest.raises(PlanError, match="names a GPU twice: cuda:1,0,1"):
        parse_device(given("cuda:1,0,1"))


def test_an_unknown_format_offers_the_near_one() -> None:
    """A typing slip is answered with the word that was meant and all that are allowed."""
    with pytest.raises(PlanError) as caught:
        parse_formats(given("onxx", "--serve-format"))
    assert str(caught.value) == (
        "--serve-format does not know 'onxx': did you mean onnx?\n"
        "  where: command line\n"
        "  next: use one of: onnx, pytorch, tensorrt, all"
    )


def test_a_path_is_relative_to_where_it_was_written() -> None:
    """An ini file's path does not move with the user's current folder."""
    beside = Given(flag="--serve-thresholds", text="limits.toml", base=Path("/project"))
    assert parse_path(beside) == Path("/project/limits.toml")
    assert parse_path(replace(beside, text="/etc/limits.toml")) == Path("/etc/limits.toml")
    with pytest.raises(PlanError, match="has an empty value"):
        parse_path(replace(beside, text=" "))


def test_stacks_are_names_urls_and_two_words() -> None:
    """All four forms may be mixed in one list."""
    wish = parse_stacks(given("triton=http://127.0.0.1:8000/,fastapi,all"), list(THREE))
    assert wish.names == ("triton", "fastapi")
    assert wish.everything == "all"
    assert wish.attached == {"triton": "http://127.0.0.1:8000"}


def test_an_address_names_its_other_ports_as_a_query() -> None:
    """What the attach launcher understands can be asked for: a server's gRPC port is not its HTTP port."""
    wish = parse_stacks(given("triton=http://h:8000?grpc=8001&metrics=8002"), list(THREE))
    assert wish.attached == {"triton": "http://h:8000?grpc=8001&metrics=8002"}


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "https://h:1", "http://", "http://h:x", "http://h:1/v2", "http://u@h:1", "ftp://h"],
)
def test_an_address_that_cannot_be_used_shows_the_form(url: str) -> None:
    """A stack's address is refused with the form it should have."""
    with pytest.raises(PlanError, match="next: give its server as triton=http://HOST:PORT"):
        parse_stacks(given(f"triton={url}"), list(THREE))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tritno", "does not know 'tritno': did you mean triton\\?"),
        ("vllm=http://h:1", "does not know 'vllm'"),
        ("all,available", "cannot be both all and available"),
        ("triton=http://a:1,triton=http://b:1", "gives two addresses for triton"),
    ],
)
def test_a_wrong_stack_says_what_is_wrong(text: str, message: str) -> None:
    """Unknown names and contradictions are refused."""
    with pytest.raises(PlanError, match=message):
        parse_stacks(given(text, "--stack"), list(THREE))


@pytest.mark.parametrize("text", ["~nobody-of-this-name/x", "~nobody-of-this-name"])
def test_a_home_of_nobody_is_an_error(text: str) -> None:
    """It was a traceback, and then pytest's INTERNALERROR."""
    with pytest.raises(PlanError, match="--serve-x begins in a home folder that is not known") as caught:
        parse_path(given(text))
    assert "write the path out" in caught.value.next_step
