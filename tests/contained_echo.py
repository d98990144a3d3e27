"""The echo stack in a container: the same server, run by the Python of the tests' base image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from pytest_servebench.containers import Container, ContainerImage, ImageChoice
from pytest_servebench.plan import Device, LaunchSpec, WorkFile
from tests.echo_stack import SERVER, Echo
from tests.engine import BASE


@dataclass(frozen=True, kw_only=True)
class EchoInContainer(Echo):
    """Satisfies `interfaces.Stack`; only its launch differs."""

    image: str = BASE

    def _spec(self, loaded: Sequence[str]) -> LaunchSpec:
        spec = super()._spec(loaded)
        _, *options, _, address, settings, tag = spec.argv
        argv = ("python3", *options, f"${{workdir}}/{SERVER.name}", address, settings, tag)
        files = (WorkFile(path=SERVER.name, source=SERVER),)
        return replace(
            spec, argv=argv, files=files, container=Container(image=ContainerImage(name=self.image))
        )


@dataclass(frozen=True, kw_only=True)
class ContainedEcho(Echo):
    """The echo stack that also comes as a container; satisfies `interfaces.Containerised` too."""

    def in_container(self, choice: ImageChoice, device: Device) -> EchoInContainer:
        """Return the stack as it is served from ``choice``, or from the tests' base image."""
        same = {one.name: getattr(self, one.name) for one in fields(Echo)}
        return EchoInContainer(**same, image=choice.reference or BASE)
