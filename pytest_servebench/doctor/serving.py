"""What would serve which format by which launcher, decided by what decides a benchmark's plan (pure)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from pytest_servebench.checkup import Outcome, Serving
from pytest_servebench.containers import GPU_REMEDY
from pytest_servebench.containing import stacks_of
from pytest_servebench.doctor.libraries import ONNXRUNTIME_GPU
from pytest_servebench.doctor.packages import OWN
from pytest_servebench.errors import MissingPieceError, ServebenchError
from pytest_servebench.interfaces import Stack
from pytest_servebench.models.variants import file_for
from pytest_servebench.options.given import Asked, Given, parse_device, parse_stacks, parse_word
from pytest_servebench.options.placement import LAUNCHERS, NO_RUNTIME, Surroundings
from pytest_servebench.options.planning import plan_for
from pytest_servebench.options.selection import DEFAULT_FORMATS
from pytest_servebench.plan import InputDtype, LauncherKind, MissingPiece, ModelFormat, Plan

AUTO = "auto"
_EXTRAS = re.compile(rf"""pip install ['"]{OWN}\[([\w,]+)\]['"]""")
_LAUNCHERS = (LauncherKind.PROCESS, LauncherKind.DOCKER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What somebody wants to run; the words are those of pytest's options."""

    stack: str = "all"
    launcher: str = AUTO
    device: str = AUTO
    suite: str = "benchmarks"
    """What pytest is given to run our benchmarks, as a shell reads it."""

    @property
    def asked(self) -> Asked:
        """The same as pytest's options."""
        return _asked(stack=self.stack, launcher=self.launcher, device=self.device)

    @property
    def command(self) -> str:
        """What to type."""
        placed = {"launcher": self.launcher, "device": self.device}
        options = "".join(f" --serve-{key}={word}" for key, word in placed.items() if word != AUTO)
        return f"pytest {self.suite} --stack={self.stack}{options}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What decides, beside the question."""

    offered: Mapping[str, Stack]
    surroundings: Surroundings
    engine_problem: str = ""
    """Why no container can be started; empty: some can."""
    engine_remedy: str = ""


def check_question(question: Question, offered: Collection[str]) -> None:
    """Raise `PlanError` for a word that no machine would understand."""
    parse_stacks(Given(flag="--stack", text=question.stack), offered)
    parse_word(Given(flag="--launcher", text=question.launcher), LAUNCHERS)
    parse_device(Given(flag="--device", text=question.device))


def outcome_of(question: Question, ground: Ground) -> Outcome:
    """Return whether the plan can be made, and where it would run."""
    told = {"stack": question.stack, "launcher": question.launcher, "device": question.device}
    bare = {key: given for key, given in question.asked.items() if key != "stack"}
    try:
        placed = plan_for(bare, ground.offered, ground.surroundings)
    except ServebenchError as error:
        return Outcome(asked=told, why_not=_why(error), remedy=_remedy(error), command=question.command)
    why, remedy = _unplanned(question, placed, ground)
    return Outcome(
        asked=told,
        launcher=str(placed.launcher),
        launcher_reason=placed.launcher_reason,
        device=str(placed.device),
        device_reason=placed.device_reason,
        why_not=why,
        remedy=remedy,
        command=question.command,
    )


def servings_of(question: Question, ground: Ground) -> Iterator[Serving]:
    """Yield every stack with every format, by local processes and in containers.

    The device is the one asked for, or what each launcher would choose. Its precisions are those of a plan
    that asks for all of them.
    """
    for name in ground.offered:
        for model_format in ModelFormat:
            for launcher in _LAUNCHERS:
                yield _judged(
                    Serving(stack=name, format=str(model_format), launcher=str(launcher)),
                    question.device,
                    ground,
                )


def merged(remedies: Iterable[str]) -> str:
    """Return remedies, a line each and each once, with all extras of ours in one command."""
    lines = list(dict.fromkeys(line for each in remedies for line in each.splitlines() if line))
    found = {line: match for line in lines if (match := _EXTRAS.fullmatch(line))}
    extras = sorted({extra for match in found.values() for extra in match[1].split(",")})
    install = [f'pip install "{OWN}[{",".join(extras)}]"'] if extras else []
    return "\n".join([*install, *(line for line in lines if line not in found)])


def _unplanned(question: Question, placed: Plan, ground: Ground) -> tuple[str, str]:
    """Return why no plan can be made, and what mends that; two empty texts where one can."""
    try:
        plan = plan_for(question.asked, ground.offered, ground.surroundings)
    except MissingPieceError as error:
        wish = parse_stacks(question.asked["stack"], ground.offered)
        served = stacks_of(placed, ground.offered)
        asked = served.values() if wish.everything else [served[name] for name in wish.names]
        pieces = (each.missing([one for one in DEFAULT_FORMATS if one in each.formats]) for each in asked)
        return error.what, merged(piece.remedy for some in pieces for piece in some)
    except ServebenchError as error:
        return _why(error), _remedy(error)
    if plan.launcher is LauncherKind.DOCKER and ground.engine_problem:
        return ground.engine_problem, ground.engine_remedy
    return "", ""


def _judged(one: Serving, device: str, ground: Ground) -> Serving:
    """Return it with the precisions it would compute in, or with why it would not run and what mends that."""
    model_format = ModelFormat(one.format)
    if model_format not in ground.offered[one.stack].formats:
        return replace(one, why_not=f"{one.stack} does not serve {one.format}")
    if one.launcher == LauncherKind.DOCKER and ground.engine_problem:
        why = f"no container can be started: {ground.engine_problem}"
        return replace(one, why_not=why, remedy=ground.engine_remedy)
    asked = _asked(stack=one.stack, format=one.format, launcher=one.launcher, device=device, dtype="all")
    try:
        plan = plan_for(asked, ground.offered, ground.surroundings)
        for precision in plan.precisions:
            file_for(model_format, precision, InputDtype.FLOAT32)
    except MissingPieceError:
        pieces = _missing(one.stack, model_format, asked, ground)
        why, remedy = _listed(piece.what for piece in pieces), merged(piece.remedy for piece in pieces)
        return replace(one, why_not=why, remedy=remedy)
    except ServebenchError as error:
        return replace(one, why_not=_why(error), remedy=_remedy(error))
    return replace(one, precisions=tuple(map(str, plan.precisions)))


def _missing(name: str, model_format: ModelFormat, asked: Asked, ground: Ground) -> tuple[MissingPiece, ...]:
    bare = {key: given for key, given in asked.items() if key not in {"stack", "format", "dtype"}}
    placed: Plan = plan_for(bare, ground.offered, ground.surroundings)
    return stacks_of(placed, ground.offered)[name].missing((model_format,))


def _asked(**words: str) -> Asked:
    flags = {key: "--stack" if key == "stack" else f"--serve-{key}" for key in words}
    return {key: Given(flag=flags[key], text=word) for key, word in words.items()}


def _why(error: ServebenchError) -> str:
    return f"{error.what}: {error.seen}" if error.seen else error.what


def _remedy(error: ServebenchError) -> str:
    if NO_RUNTIME in error.seen:
        return GPU_REMEDY
    return ONNXRUNTIME_GPU if "onnxruntime-gpu" in error.seen else error.next_step


def _listed(words: Iterable[str]) -> str:
    return f"missing: {'; '.join(dict.fromkeys(words))}"
