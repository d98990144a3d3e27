"""The conductor: what becomes of a case whose server answers rightly, wrongly, late, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_servebench.asking import IMAGES_PER_CASE, question_of, request_groups
from pytest_servebench.errors import AnswerError, LoadError, ServerExitedError
from pytest_servebench.plan import (
    CPU,
    Device,
    Load,
    Precision,
    WireRequest,
)
from pytest_servebench.readings import Readings
from pytest_servebench.results import NO_CEILING, CaseResult, Ceiling, RawBaseline, Validity
from pytest_servebench.runner import ask_case, run_case
from pytest_servebench.samples import Outcome, Reply
from pytest_servebench.testing.driver import FakeDriver
from pytest_servebench.testing.launcher import FakeLauncher
from tests.echo_house import UNREAD, EchoHouse, Onlooker, case, deployment, said
from tests.echo_stack import echo_images, echo_logits

Answers = Callable[[list[int]], Reply]


def run(house: EchoHouse, **asked: Any) -> CaseResult:
    """Run one case in ``house``."""
    return run_case(case(**asked), house.rooms, house.pool, Onlooker())


def after(count: int, answers: Answers) -> Answers:
    """Answer rightly so often, then with ``answers``."""
    asked = 0

    def answer(images: list[int]) -> Reply:
        nonlocal asked
        asked += 1
        return answers(images) if asked > count else said(images)

    return answer


def silence(_images: list[int]) -> Reply:
    """Answer nothing."""
    raise LoadError("A request was not answered.", seen="no reply within 120 s")


@given(st.integers(1, 70), st.integers(1, 33))
def test_requests_cover_all_images(images: int, items: int) -> None:
    """Every image is asked for, in order; every request is full; none is asked for twice before all were."""
    groups = request_groups(echo_images(images), items)
    indexes = [image.index for group in groups for image in group]
    assert all(len(group) == items for group in groups)
    assert indexes[:images] == list(range(images))
    assert indexes == [i % images for i in range(len(groups) * items)]
    assert len(indexes) - images < items


def test_a_question_carries_whose_answers_it_wants() -> None:
    """Each request knows its images, so that answers can be told from each other's."""
    question, images = question_of(case(items=3), EchoHouse().rooms)
    assert len(images) == IMAGES_PER_CASE
    assert question.requests[-1].image_indexes == (15, 0, 1)
    assert len(question_of(case(items=20), EchoHouse().rooms)[1]) == 40


def test_a_right_server_gives_a_valid_result() -> None:
    """Verified before and during the load, measured alone, with figures and a cold start."""
    house = EchoHouse()
    result = run(house, concurrency=2)
    assert result.validity is Validity.VALID
    assert result.summary is not None
    assert (result.summary.correct, result.summary.wrong, result.summary.errors) == (40, 0, 0)
    assert result.before is not None
    assert result.before.compared == IMAGES_PER_CASE
    assert result.during is not None
    assert result.during.compared == 40
    assert result.backend == "echo of the images' numbers"
    assert house.held == [f"{doing} {result.case.id}" for doing in ("starting", "measuring")]


def test_what_is_held_while_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting, starting and verifying share the machine; ceiling and load have it alone."""
    house = EchoHouse(waiting_s=0.5)
    seen: dict[str, set[str]] = {}

    def note(word: str, value: Any = None) -> Any:
        seen.setdefault(word, set()).add(house.holding.partition(" ")[0])
        return value

    start, drive, images = house.launcher.start, house.driver.run, house.rooms.images
    house.rooms = replace(
        house.rooms,
        ceiling=lambda *_: note("ceiling", NO_CEILING),
        images=lambda *given: note("images", images(*given)),
    )
    monkeypatch.setattr(FakeLauncher, "start", lambda _, *given: note("start", start(*given)))
    monkeypatch.setattr(FakeDriver, "run", lambda _, *given: note("load", drive(*given)))
    house.answers = lambda asked: note("asked", said(asked))
    result = run(house)
    assert seen == {
        "images": {"starting"},
        "start": {"starting"},
        "asked": {"starting", "measuring"},
        "ceiling": {"measuring"},
        "load": {"measuring"},
    }
    assert result.waited_s == 1.0
    assert house.holding == ""


def test_what_is_not_measured_waits_for_no_window() -> None:
    """Asking without a load, and a wrong answer before it, hold what a start-up holds and no more."""
    house = EchoHouse(answers=lambda _: said([-1]), waiting_s=0.5)
    assert run(house).waited_s == 0.5
    house.answers = None
    ask_case(case(), house.rooms, house.pool)
    assert [what.split()[0] for what in house.held] == ["starting", "starting"]


def test_a_cold_start_ends_at_the_first_correct_answer() -> None:
    """Not after the whole verification, and only on a fresh server."""
    house = EchoHouse()
    assert run(house).cold_start_s == pytest.approx(0.05)
    assert run(house).cold_start_s is None
    late = EchoHouse(answers=lambda images: said([-1] if images[0] < 3 else images))
    assert run(late).cold_start_s == pytest.approx(0.2)
    never = EchoHouse(answers=lambda _: said([-1]))
    assert run(never).cold_start_s is None


def test_an_attached_server_has_no_cold_start() -> None:
    """Nobody here launched it, so there is nothing to time."""
    house = EchoHouse(attached=["echo"])
    assert run(house).cold_start_s is None


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        (
            lambda images: said([-1 if one == 5 else one for one in images]),
            "request 1: answer 1 is not that of",
        ),
        (lambda images: said(images[::-1]), "request 0: answer 0 belongs to image 3, not to its own image 0"),
        (lambda images: said(images[:-1]), "request 0: 3 answers came for 4 images"),
        (lambda _: Reply(200, {}, b"<html>"), "request 0: not a list of numbers"),
    ],
    ids=["one wrong", "mixed up", "one missing", "unreadable"],
)
def test_wrong_answers_before_the_load_end_the_case(answers: Answers, sentence: str) -> None:
    """A server that does not answer as the model does is never loaded, and the reason names an answer."""
    house = EchoHouse(answers=answers)
    result = run(house, items=4)
    assert result.validity is Validity.WRONG_OUTPUT
    assert sentence in result.reason
    assert f"of {IMAGES_PER_CASE} answers before the load are not the reference's" in result.reason
    assert result.reason.endswith("weights or preprocessing in the server, or answers out of order")
    assert house.driver.loads == []
    assert result.summary is None
    assert not result.publishable


def test_wrong_answers_during_the_load_are_marked() -> None:
    """A server that is right until it is loaded is found out, and the wrong samples count as wrong."""
    house = EchoHouse(answers=after(16 + 30, lambda images: said([-1] * len(images))))
    result = run(house, concurrency=2)
    assert result.validity is Validity.WRONG_OUTPUT
    assert result.summary is not None
    assert result.samples is not None
    wrong = np.flatnonzero(result.samples.outcome == Outcome.WRONG)
    assert result.summary.wrong == len(wrong) > 0
    assert min(wrong) == 30, "those before were right"
    assert "first: request 30: answer 0 is not that of image 14" in result.reason
    assert not result.publishable


def test_wrong_is_graver_than_failed() -> None:
    """What was answered before a failure is compared too."""
    house = EchoHouse(answers=lambda images: said([-1]) if images == [0] else said("full", 503))
    result = run(house)
    assert result.validity is Validity.WRONG_OUTPUT
    assert result.before is not None
    assert result.before.compared == 1


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (lambda _: said("out of memory", 500), 'echo answered with status 500: "out of memory"'),
        (after(3, silence), "A request was not answered.\n  seen: no reply within 120 s"),
    ],
    ids=["a status", "silence"],
)
def test_a_failure_before_the_load_is_errors(answers: Answers, reason: str) -> None:
    """A server that does not answer its first questions is not loaded; what was answered was compared."""
    house = EchoHouse(answers=answers)
    result = run(house)
    assert (result.validity, result.reason) == (Validity.ERRORS, reason)
    assert house.driver.loads == []
    assert result.before is not None
    assert result.before.compared in (0, 3)


def test_failures_during_the_load_are_errors() -> None:
    """Statuses other than success are counted and make the case ``errors``."""
    house = EchoHouse(answers=after(30, lambda _: said("full", 503)))
    result = run(house, concurrency=2)
    assert result.validity is Validity.ERRORS
    assert result.summary is not None
    assert result.summary.errors > 0
    assert result.reason.endswith("first: status 503")


def test_a_server_that_dies_in_the_load_leaves_its_last_words() -> None:
    """The load ends at once; exit code and log lines are in the reason."""
    house = EchoHouse(launcher=FakeLauncher(log="serving\n"))

    def die(images: list[int]) -> Reply:
        house.server.die(7, "I lost my model")
        return silence(images)

    house.answers = after(25, die)
    result = run(house, concurrency=2)
    assert result.validity is Validity.ERRORS
    assert result.reason.startswith("the server ended by itself with exit code 7: 1 of 6 ")
    assert result.reason.endswith("first: the server is gone: it ended by itself with exit code 7")
    assert house.pool.log_tail("echo") == "serving\nI lost my model"
    assert result.samples is not None
    assert len(result.samples) < 20


def test_a_driver_that_cannot_work_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """No load at all is no exception once the server is up: the case keeps its record."""
    house = EchoHouse()

    def refuse(*_: object) -> None:
        raise LoadError("too many open files")

    monkeypatch.setattr(type(house.driver), "run", refuse)
    result = run(house)
    assert (result.validity, result.reason) == (Validity.ERRORS, "too many open files")


@pytest.mark.parametrize("before_load", [True, False])
def test_a_server_that_failed_requests_is_replaced(before_load: bool) -> None:
    """One that hangs would cost each of its other cases the whole time-out again."""
    house = EchoHouse(answers=after(0 if before_load else 20, silence))
    assert run(house).validity is Validity.ERRORS
    house.answers = None
    assert run(house).validity is Validity.VALID
    assert house.pool.starts == ["echo", "echo"]


def test_a_wrong_server_is_not_replaced() -> None:
    """It answers, and a restart would not make it right."""
    house = EchoHouse(answers=lambda _: said([-1]))
    run(house)
    run(house)
    assert house.pool.starts == ["echo"]


def test_what_cannot_be_launched_is_raised() -> None:
    """Without a server there is nothing to record."""
    with pytest.raises(ServerExitedError):
        run(EchoHouse(launcher=FakeLauncher(exits_with=3)))


@pytest.mark.parametrize(
    ("precision", "validity"),
    [(Precision.FP32, Validity.WRONG_OUTPUT), (Precision.TF32, Validity.VALID)],
)
@pytest.mark.parametrize("device", [CPU, Device("cuda")], ids=str)
def test_the_precision_decides_the_tolerance(
    precision: Precision, validity: Validity, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TF32 differs from the reference by more than fp32 may, on a GPU as on a CPU."""
    noise = echo_logits() * np.float32(1.01)
    monkeypatch.setattr("tests.echo_stack.echo_logits", lambda: noise)
    house = EchoHouse()
    expected = echo_logits()
    object.__setattr__(house.rooms, "reference", lambda _, images: expected[[i.index for i in images]])
    on_device = deployment()
    object.__setattr__(on_device, "device", device)
    object.__setattr__(on_device, "precision", precision)
    assert run(house, of=on_device).validity is validity


def test_asking_returns_each_image_with_its_answer() -> None:
    """The answers come in the order of the images, whatever the requests hold, and without a load."""
    house = EchoHouse()
    answered = ask_case(case(items=5), house.rooms, house.pool)
    assert [image.index for image, _, _ in answered] == list(range(IMAGES_PER_CASE))
    assert all(answer.class_ids[0] == int(row.argmax()) for _, answer, row in answered)
    assert house.driver.loads == []


@pytest.mark.parametrize(
    ("answers", "what", "starts"),
    [
        (lambda _: said([-1]), "echo does not answer as the model in process does", 1),
        (silence, "echo does not answer", 2),
    ],
    ids=["wrong", "silent"],
)
def test_asking_in_vain_says_what_came(answers: Answers, what: str, starts: int) -> None:
    """Wrong answers and none at all are told apart; a silent server is not asked again."""
    house = EchoHouse(answers=answers)
    with pytest.raises(AnswerError) as caught:
        ask_case(case(), house.rooms, house.pool)
    assert caught.value.what == what
    assert caught.value.where == case().id
    assert caught.value.seen
    house.pool.ready(deployment())
    assert len(house.pool.starts) == starts


def test_the_watch_sees_the_load() -> None:
    """A person who watches is told while it runs."""
    house, onlooker = EchoHouse(), Onlooker()
    run_case(case(), house.rooms, house.pool, onlooker)
    assert onlooker.seen


def test_ceiling_and_raw_baseline_are_measured_before_the_load_and_its_readings() -> None:
    """On an idle server, with a correct reply, and outside all that telemetry counts."""
    house, events = EchoHouse(), []

    def ceiling(requests: Sequence[WireRequest], reply: Reply, load: Load) -> Ceiling:
        events.append("ceiling")
        assert (len(requests), reply, load) == (IMAGES_PER_CASE, said([0]), case().load)
        assert house.asked == IMAGES_PER_CASE
        assert house.driver.loads == []
        return Ceiling(20_000.0)

    @contextmanager
    def telemetry(_endpoint: object, _deployment: object) -> Iterator[Readings]:
        events.append("telemetry")
        yield UNREAD

    def raw(_case: object, _endpoint: object) -> RawBaseline:
        events.append("raw baseline")
        assert house.holding.startswith("measuring")
        return RawBaseline(images_per_s=40.0)

    rooms = replace(house.rooms, ceiling=ceiling, raw=raw, telemetry=telemetry)
    result = run_case(case(), rooms, house.pool, Onlooker())
    assert events == ["ceiling", "raw baseline", "telemetry"]
    assert result.raw.images_per_s == 40.0
    assert result.validity is Validity.VALID
    assert result.summary is not None
    assert (result.summary.ceiling_per_s, result.ceiling.absent) == (20_000.0, "")


def test_a_load_near_the_ceiling_is_the_clients() -> None:
    """20 replies a second of at most 24 say more of the client than of the server."""
    house = EchoHouse()
    rooms = replace(house.rooms, ceiling=lambda *_: Ceiling(24.0))
    result = run_case(case(), rooms, house.pool, Onlooker())
    assert result.validity is Validity.CLIENT_LIMITED
    assert result.reason.startswith("answered were 20 requests/s, above 80% of the 24 that this client sends")


def test_a_case_without_a_ceiling_keeps_its_verdict_and_says_why() -> None:
    """What was not measured is no ground for a doubt, and is not hidden."""
    house = EchoHouse()
    rooms = replace(house.rooms, ceiling=lambda *_: Ceiling(None, "no second core"))
    result = run_case(case(), rooms, house.pool, Onlooker())
    assert result.validity is Validity.VALID
    assert result.summary is not None
    assert (result.summary.ceiling_per_s, result.ceiling.absent) == (None, "no second core")


def test_a_wrong_server_costs_no_ceiling() -> None:
    """A case that is not loaded needs none."""
    house = EchoHouse(answers=lambda _: said([-1]))
    rooms = replace(house.rooms, ceiling=lambda *_: pytest.fail("measured"))
    assert run_case(case(), rooms, house.pool, Onlooker()).validity is Validity.WRONG_OUTPUT


def test_one_image_fills_a_request() -> None:
    """Fewer images than a request holds are repeated in it."""
    groups: Sequence[Any] = request_groups(echo_images(1), 8)
    assert [[image.index for image in group] for group in groups] == [[0] * 8]
