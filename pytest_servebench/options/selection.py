"""Which stacks serve which formats here, and what is left out and why (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_servebench.choices import SHARED_PAYLOADS
from pytest_servebench.containers import Ipc
from pytest_servebench.errors import MissingPieceError, PlanError
from pytest_servebench.interfaces import Stack
from pytest_servebench.launchers.server_address import is_here, parse_address
from pytest_servebench.options.arithmetic import ArithmeticWish, Computer, compiles_torchscript, computable
from pytest_servebench.options.decoding import no_decoder
from pytest_servebench.options.given import Given, StackWish
from pytest_servebench.options.placement import GPU_DOCTOR, Placement
from pytest_servebench.plan import Decoder, LauncherKind, MissingPiece, ModelFormat, Payload, WireProtocol
from pytest_servebench.words import listed

DEFAULT_FORMATS = (ModelFormat.ONNX, ModelFormat.PYTORCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Everything that decides which pairs of stack and format a plan holds."""

    stacks: StackWish
    stack_option: Given
    formats: tuple[ModelFormat, ...] | None = DEFAULT_FORMATS
    """None: all that can run."""
    formats_option: Given | None = None
    """None: nobody asked, so a stack is held only to those of the default that it offers."""
    arithmetic: ArithmeticWish = field(default_factory=ArithmeticWish)
    payload: Payload = Payload.TENSOR
    decoder: Decoder = Decoder.AUTO
    protocol: WireProtocol = WireProtocol.HTTP
    placement: Placement
    ipc: Ipc = Ipc.PRIVATE
    """Whose shared memory containers see."""
    bare: frozenset[str] = frozenset()
    """Stacks that do not come as containers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The stacks of a plan with their formats, and what was left out with the reason."""

    formats_by_stack: Mapping[str, tuple[ModelFormat, ...]]
    left_out: Mapping[str, str]


@dataclass(slots=True)
class _Found:
    """What is known of one stack: its formats, and why others are not among them."""

    formats: list[ModelFormat] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    """By key of `Plan.left_out`."""
    missing: tuple[MissingPiece, ...] = ()


def select(wish: Wish, offered: Mapping[str, Stack]) -> Selection:
    """Return what runs. Nothing is silently smaller than asked.

    A stack asked for by name or by ``all`` that cannot do what was asked is an error; one
    that only ``available`` brought in is left out with a reason. ``--serve-format=all``
    means all formats that the device can run and the stack serves, with ``tensorrt`` where it is
    installed, ``--serve-dtype=all`` all precisions that it computes them in; the rest is listed.
    Raises `PlanError`, and `MissingPieceError` for what can be installed.
    """
    optional = _optional(wish.stacks, offered)
    found = {name: _look_at(name, wish, offered, optional=name in optional) for name in _names(wish, offered)}
    _check_missing(wish, {name: one.missing for name, one in found.items()})
    left_out: dict[str, str] = {}
    for name, one in found.items():
        if one.formats:
            left_out |= one.reasons
        elif name in optional:
            reasons = dict.fromkeys(one.reasons.values())
            left_out[name] = "; ".join(reasons) or f"{name} serves none of {listed(DEFAULT_FORMATS)}"
        else:
            raise _serves_nothing(wish, offered[name], one)
    formats_by_stack = {name: tuple(one.formats) for name, one in found.items() if one.formats}
    if not formats_by_stack:
        raise _nothing_can_run(wish, left_out)
    return Selection(formats_by_stack=formats_by_stack, left_out=left_out)


def _names(wish: Wish, offered: Mapping[str, Stack]) -> tuple[str, ...]:
    return tuple(offered) if wish.stacks.everything else wish.stacks.names


def _optional(wish: StackWish, offered: Mapping[str, Stack]) -> frozenset[str]:
    return frozenset(offered).difference(wish.names) if wish.everything == "available" else frozenset()


def _look_at(name: str, wish: Wish, offered: Mapping[str, Stack], *, optional: bool) -> _Found:
    stack, found = offered[name], _Found()
    problem = _wire_problem(stack, wish, offered)
    if problem and not optional:
        raise problem
    if problem:
        found.reasons[name] = problem.what
        return found
    for model_format in _formats(stack, wish):
        reason = _format_problem(stack, model_format, wish, optional=optional)
        if reason:
            found.reasons[f"{name}/{model_format}"] = reason
        else:
            found.formats.append(model_format)
    if _is_ours(stack, wish):
        torchscript = compiles_torchscript(stack)
        who = Computer(stack=name, device=wish.placement.device, torchscript=torchscript)
        able = computable(who, found.formats, wish.arithmetic, optional=optional)
        found.formats, found.reasons = able.formats, found.reasons | able.reasons
    if not optional and _is_ours(stack, wish):
        found.missing = stack.missing(tuple(found.formats))
    return found


def _formats(stack: Stack, wish: Wish) -> tuple[ModelFormat, ...]:
    if wish.formats_option is None:
        return tuple(f for f in DEFAULT_FORMATS if f in stack.formats)
    return tuple(ModelFormat) if wish.formats is None else wish.formats


def _format_problem(stack: Stack, model_format: ModelFormat, wish: Wish, *, optional: bool) -> str:
    must = wish.formats is not None and not optional
    if model_format not in stack.formats:
        if must:
            raise _does_not_serve(wish, stack, model_format)
        return f"{stack.name} does not serve {model_format}"
    if model_format is ModelFormat.TENSORRT and not _runs_tensorrt(stack.name, wish):
        if must:
            raise _cannot_run_tensorrt(wish)
        return _needs_gpu(wish.placement)
    # No environment has TensorRT for every stack: where all formats are wished for, it is one that may lack.
    spared = model_format is ModelFormat.TENSORRT and not must
    if (optional or spared) and _is_ours(stack, wish):
        known = () if optional else stack.missing(())
        pieces = [piece for piece in stack.missing((model_format,)) if piece not in known]
        return "; ".join(f"{piece.what} is missing; {piece.remedy}" for piece in pieces)
    return ""


def _is_ours(stack: Stack, wish: Wish) -> bool:
    return wish.placement.launcher is not LauncherKind.ATTACH and stack.name not in wish.stacks.attached


def _is_in_container(stack: Stack, wish: Wish) -> bool:
    return wish.placement.launcher is LauncherKind.DOCKER and _is_ours(stack, wish)


def _runs_tensorrt(name: str, wish: Wish) -> bool:
    # What an attached server computes on is its own affair.
    return wish.placement.device.kind == "cuda" or name in wish.stacks.attached


def _needs_gpu(placement: Placement) -> str:
    why = f"tensorrt needs a CUDA device, and this runs on {placement.device}: {placement.device_reason}"
    return why if GPU_DOCTOR in why else f"{why}; {GPU_DOCTOR}"


def _wire_problem(stack: Stack, wish: Wish, offered: Mapping[str, Stack]) -> PlanError | None:
    if stack.name in wish.bare and _is_in_container(stack, wish):
        return _no_container(stack.name)
    speakers = {name: other.payloads | other.protocols for name, other in offered.items()}
    for flag, word in (("--serve-payload", wish.payload), ("--serve-protocol", wish.protocol)):
        if word not in speakers[stack.name]:
            able = listed(name for name, words in speakers.items() if word in words)
            return PlanError(
                f"{flag}={word} is not offered by {stack.name}",
                where=f"stacks chosen by {wish.stack_option.flag}={wish.stack_option.text} "
                f"({wish.stack_option.source})",
                next_step=f"stacks that offer {word}: {able}; or use --stack=available",
            )
    if why := no_decoder(wish.decoder, stack, wish.placement, offered, attached=not _is_ours(stack, wish)):
        return why
    return _no_memory(stack, wish)


def _no_memory(stack: Stack, wish: Wish) -> PlanError | None:
    """Return why the payload's memory cannot be shared with ``stack``; None where there is none to share."""
    url = wish.stacks.attached.get(stack.name, "")
    if wish.payload is Payload.CUDASHM and (why := _no_gpu_memory(stack, wish)):
        return why
    if wish.payload is Payload.SHM and wish.ipc is Ipc.PRIVATE and _is_in_container(stack, wish):
        return _memory_of_its_own(stack.name)
    if wish.payload in SHARED_PAYLOADS and url and not is_here(parse_address(url).host):
        return _no_memory_in_common(wish.payload, stack.name, url)
    return None


def _no_container(name: str) -> PlanError:
    return PlanError(
        f"--serve-launcher=docker: {name} does not come as a container",
        seen="its stack has no in_container (docs/add-a-stack.md)",
        next_step="use --serve-launcher=process, leave it out, or attach to one that runs: --stack=NAME=URL",
    )


def _no_gpu_memory(stack: Stack, wish: Wish) -> PlanError | None:
    """Return why ``stack`` cannot be given tensors in a GPU's memory, if it cannot."""
    placement, option = wish.placement, f"--serve-payload={Payload.CUDASHM}"
    if placement.device.kind != "cuda":
        return PlanError(
            f"{option} needs a GPU, and this runs on {placement.device}",
            seen=placement.device_reason,
            next_step="use --serve-device=cuda where there is one; else --serve-payload=shm or uint8",
        )
    if _is_in_container(stack, wish):
        return PlanError(
            f"{option} does not reach into a container that is launched here",
            where=f"{stack.name}, --serve-launcher=docker",
            seen="CUDA opens the memory of processes that it can number: ipc=host alone does not do",
            next_step="use --serve-launcher=process, or start the container with --gpus=all --ipc=host"
            " --pid=host and attach to it: --stack=NAME=http://127.0.0.1:PORT",
        )
    return None


def _memory_of_its_own(name: str) -> PlanError:
    return PlanError(
        f"--serve-payload={Payload.SHM} does not reach into a container with shared memory of its own",
        where=f"{name}, --serve-launcher=docker",
        seen="--serve-container asks for ipc=private, or for a size of its own memory: shm=",
        next_step="--serve-container=ipc=host, which this payload has where neither is said;"
        " or --serve-payload=tensor",
    )


def _no_memory_in_common(payload: Payload, name: str, url: str) -> PlanError:
    return PlanError(
        f"--serve-payload={payload} needs a server on this machine",
        where=f"{name} at {url}",
        seen="an address that is not of this machine's loopback",
        next_step="give http://127.0.0.1:PORT if it does run here; else --serve-payload=tensor",
    )


def _check_missing(wish: Wish, missing: Mapping[str, Sequence[MissingPiece]]) -> None:
    rows = [f"{name}: {piece.what} is missing; {piece.remedy}" for name in missing for piece in missing[name]]
    if rows:
        names = [name for name, pieces in missing.items() if pieces]
        raise MissingPieceError(
            f"{wish.stack_option.flag}={wish.stack_option.text}: {listed(names)} cannot run here",
            where=wish.stack_option.source,
            seen="\n    ".join(rows),
            next_step="install what is missing, or use --stack=available for what can run as it is",
        )


def _does_not_serve(wish: Wish, stack: Stack, model_format: ModelFormat) -> PlanError:
    assert wish.formats_option is not None
    return wish.formats_option.wrong(
        f"asks for {model_format}, which {stack.name} does not serve",
        next_step=f"{stack.name} serves: {listed(sorted(stack.formats))}; "
        "or use --serve-format=all for what each stack can, or leave that stack out",
    )


def _cannot_run_tensorrt(wish: Wish) -> PlanError:
    assert wish.formats_option is not None
    return wish.formats_option.wrong(
        "asks for tensorrt, which cannot run here",
        seen=_needs_gpu(wish.placement),
        next_step="use --serve-format=all for what this device can run, or a machine with a GPU",
    )


def _serves_nothing(wish: Wish, stack: Stack, found: _Found) -> PlanError:
    return wish.stack_option.wrong(
        f"asks for {stack.name}, which serves none of the formats asked for",
        seen="; ".join(found.reasons.values()),
        next_step=f"{stack.name} serves: {listed(sorted(stack.formats))}; choose with --serve-format",
    )


def _nothing_can_run(wish: Wish, left_out: Mapping[str, str]) -> PlanError:
    rows = [f"{name}: {reason}" for name, reason in left_out.items()]
    return wish.stack_option.wrong(
        "leaves nothing: no stack can run here",
        seen="\n    ".join(rows),
        next_step="mend one of these",
    )
