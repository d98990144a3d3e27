"""What decodes JPEG: whether there is any for the decoder asked for, and which stacks have that (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_servebench.errors import PlanError
from pytest_servebench.interfaces import Stack
from pytest_servebench.options.given import Asked
from pytest_servebench.options.placement import Placement
from pytest_servebench.plan import Decoder, Device, LauncherKind, Payload
from pytest_servebench.words import listed

FLAG = "--serve-decoder"
ON_GPU = frozenset({Decoder.NVJPEG, Decoder.DALI})
"""Those that compute on a GPU."""


def decoders_of(stack: Stack) -> frozenset[Decoder]:
    """Return what can be asked of ``stack``; Pillow is what every server has."""
    return getattr(stack, "decoders", frozenset({Decoder.PILLOW}))


def check_decodes(asked: Asked, decoder: Decoder, payload: Payload) -> None:
    """Raise `PlanError` for a decoder that would be given nothing to decode."""
    if decoder is not Decoder.AUTO and payload is not Payload.JPEG:
        raise asked["decoder"].wrong(
            f"is {decoder}, and the payload is {payload}: there is no JPEG to decode",
            next_step=f"add --serve-payload={Payload.JPEG}, or leave {FLAG} out",
        )


def no_decoder(
    decoder: Decoder, stack: Stack, placement: Placement, offered: Mapping[str, Stack], *, attached: bool
) -> PlanError | None:
    """Return why ``stack`` cannot decode by ``decoder``, if it cannot.

    Where an attached server computes, and whether it has the decoder, is its own affair.
    """
    if decoder is Decoder.AUTO:
        return None
    if decoder not in decoders_of(stack):
        return _not_of(decoder, stack, placement, offered)
    if attached or decoder not in ON_GPU:
        return None
    if placement.device.kind != "cuda":
        return PlanError(
            f"{FLAG}={decoder} decodes on a GPU, and this runs on {placement.device}",
            seen=placement.device_reason,
            next_step=f"use --serve-device=cuda where there is one; else {FLAG}={Decoder.PILLOW}",
        )
    if decoder is Decoder.DALI and placement.launcher is not LauncherKind.DOCKER:
        return PlanError(
            f"{FLAG}={decoder} needs Triton's DALI backend, which only NVIDIA's image has",
            where=f"{stack.name}, --serve-launcher={placement.launcher}",
            next_step=f"use --serve-launcher=docker; or {FLAG}={Decoder.NVJPEG}, by torchvision",
        )
    return None


def _not_of(decoder: Decoder, stack: Stack, placement: Placement, offered: Mapping[str, Stack]) -> PlanError:
    able = [name for name, other in offered.items() if decoder in decoders_of(other)]
    others = sorted(decoders_of(stack) - {Decoder.PILLOW})
    step = f"stacks that have it: {listed(able)}; or use --stack=available" if able else ""
    own = f"{stack.name} has {listed([*others, Decoder.PILLOW])}"
    return PlanError(
        f"{FLAG}={decoder} is not offered by {stack.name}",
        where=f"--serve-launcher={placement.launcher}, --serve-device={placement.device}",
        next_step="; ".join(filter(None, (own, step))),
    )


def decoder_for(decoder: Decoder, stack: Stack, device: Device, *, attached: bool) -> Decoder:
    """Return what ``stack`` is told to decode by: ``auto`` only where its server has something to choose."""
    if decoder is not Decoder.AUTO:
        return decoder
    chooses = device.kind == "cuda" and not attached and Decoder.NVJPEG in decoders_of(stack)
    return Decoder.AUTO if chooses else Decoder.PILLOW
