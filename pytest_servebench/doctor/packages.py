"""Python packages and Java against what our own distribution asks for (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from packaging.requirements import Requirement

from pytest_servebench.checkup import Check, CheckState
from pytest_servebench.stacks.java import OLDEST_MAJOR

SECTION = "Python packages"
OWN = "pytest-servebench"
_OTHER_BUILDS = {"onnxruntime": ("onnxruntime-gpu",)}
"""Distributions that install the same modules."""
_FOR_WORK_ON_ITSELF = frozenset({"dev", "docs", "tools", "all", "gpu-stacks", "gpu-cuda12"})
"""Extras that are not told of: what they hold is told by others, or is for who works on this project."""
_FOR_GPUS = frozenset({"gpu", "tensorrt"})
"""Extras that a machine without a GPU has no use for."""
_WITH_ENGINES = frozenset({"models", "fastapi", "triton", "all"})
"""Extras that bring the build of ONNX Runtime for CPUs, which must not lie beside the one for GPUs."""
_OWN_EXTRAS = re.compile(rf"""pip install (['"]){OWN}\[([\w,-]+)\]\1""")
_NO_EXTRA = "pytest-servebench itself"
_JAVA = 'pip install "pytest-servebench[torchserve]"\nsudo apt-get install default-jre-headless'


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagesSeen:
    """What our distribution asks for, and what is installed of it."""

    requirements: tuple[str, ...] = ()
    """As its metadata has them."""
    extras: tuple[str, ...] = ()
    installed: Mapping[str, str] = field(default_factory=dict)
    """Versions of distributions, by name."""
    absent: str = ""
    """Why the requirements are not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JavaSeen:
    """The Java that TorchServe would be run with."""

    path: str = ""
    """Empty: there is none that is new enough."""
    version: str = ""
    """As it says itself; empty: it does not start."""
    problem: str = ""
    """Why it does not start."""
    too_old: str = ""
    """One that is there and too old."""


def package_checks(seen: PackagesSeen, *, has_gpu: bool = False) -> Iterator[Check]:
    """Yield one check for the package itself and one for each extra of it that this machine has a use for."""
    if seen.absent:
        yield _check("all", CheckState.NOT_AVAILABLE, seen.absent, f'pip install "{OWN}[all]"')
        return
    without = _FOR_WORK_ON_ITSELF if has_gpu else _FOR_WORK_ON_ITSELF | _FOR_GPUS
    for extra in ("", *(each for each in seen.extras if each not in without)):
        wanted = wanted_by(seen.requirements, extra)
        lacking = [text for each in wanted if (text := _lack(each, seen.installed))]
        subject = f"[{extra}]" if extra else _NO_EXTRA
        remedy = f'pip install "{OWN}[{extra}]"' if extra else f"pip install --upgrade {OWN}"
        if lacking:
            yield _check(subject, CheckState.MISSING, ", ".join(lacking), remedy)
        else:
            shown = ", ".join(f"{name} {version}" for name, version in _found(wanted, seen.installed))
            yield _check(subject, CheckState.OK, shown)


def on_gpu(remedy: str) -> str:
    """Return a remedy for packages that compute on a GPU: extras with a CPU's engine give way to ``gpu``."""

    def changed(found: re.Match[str]) -> str:
        extras = found[2].split(",")
        kept = [each for each in extras if each not in _WITH_ENGINES]
        if kept != extras:
            kept = ["gpu", *(each for each in kept if each in _FOR_GPUS - {"gpu"})]
        return f"pip install {found[1]}{OWN}[{','.join(kept)}]{found[1]}"

    return _OWN_EXTRAS.sub(changed, remedy)


def java_check(seen: JavaSeen) -> Check:
    """Return how the Java is that TorchServe needs."""
    subject = "Java"
    if seen.version:
        return _check(subject, CheckState.OK, f"{seen.version}: {seen.path}")
    if seen.path:
        return _check(subject, CheckState.MISSING, f"{seen.path} does not start: {seen.problem}", _JAVA)
    old = f"; {seen.too_old} is older" if seen.too_old else ""
    return _check(subject, CheckState.MISSING, f"none of version {OLDEST_MAJOR} or later{old}", _JAVA)


def wanted_by(requirements: Sequence[str], extra: str) -> tuple[Requirement, ...]:
    """Return what an extra of ours asks for on this Python and system, those of others it holds included.

    An empty ``extra`` is the package itself. The format is that of PEP 508.
    """
    found: dict[str, Requirement] = {}
    open_extras, seen = [extra], {extra}
    while open_extras:
        of = open_extras.pop()
        for each in map(Requirement, requirements):
            if not _is_of(each, of):
                continue
            if each.name != OWN:
                found.setdefault(each.name, each)
                continue
            further = each.extras - seen
            seen |= further
            open_extras += sorted(further)
    return tuple(found.values())


def _is_of(requirement: Requirement, extra: str) -> bool:
    """Return whether it is asked for with this extra, and not also without."""
    marker = requirement.marker
    plain = marker is None or marker.evaluate({"extra": ""})
    return plain if not extra else not plain and marker is not None and marker.evaluate({"extra": extra})


def _names(requirement: Requirement) -> tuple[str, ...]:
    return (requirement.name, *_OTHER_BUILDS.get(requirement.name, ()))


def _lack(requirement: Requirement, installed: Mapping[str, str]) -> str:
    """Return what is wrong with what is installed for a requirement; empty where nothing is."""
    versions = [installed[name] for name in _names(requirement) if name in installed]
    if not versions:
        return f"{requirement.name} is not installed"
    if any(requirement.specifier.contains(version, prereleases=True) for version in versions):
        return ""
    return f"{requirement.name} is {versions[0]}, and {requirement.specifier} is wanted"


def _found(wanted: Sequence[Requirement], installed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for requirement in wanted:
        yield from ((name, installed[name]) for name in _names(requirement)[::-1] if name in installed)


def _check(subject: str, state: CheckState, seen: str, remedy: str = "") -> Check:
    return Check(section=SECTION, subject=subject, state=state, seen=seen, remedy=remedy)
