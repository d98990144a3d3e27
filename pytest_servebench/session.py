"""What one pytest session holds: the plan, the rooms, the server that is up."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pytest_servebench.capacity_run import find_capacity
from pytest_servebench.ceiling import Ceilings
from pytest_servebench.clock import MonotonicClock
from pytest_servebench.engines import Engines
from pytest_servebench.errors import PlanError
from pytest_servebench.interfaces import Launcher, Stack, Watch
from pytest_servebench.launchers.attach import AttachLauncher
from pytest_servebench.launchers.docker import DockerLauncher, Workshop
from pytest_servebench.launchers.process import ProcessLauncher
from pytest_servebench.leasing.cores import count_cores, narrowed
from pytest_servebench.leasing.lanes import Gpu, Machine, set_text
from pytest_servebench.leasing.leases import Leases, Tell
from pytest_servebench.models.catalogue import model_card
from pytest_servebench.models.export import artifact
from pytest_servebench.models.held_file import held_in
from pytest_servebench.models.images import image_set
from pytest_servebench.models.labels import imagenet_labels
from pytest_servebench.models.reference import reference_logits
from pytest_servebench.plan import Artifact, Case, Deployment, Image, LauncherKind, ModelFormat, Plan
from pytest_servebench.pool import ServerPool, launch_group
from pytest_servebench.raw_baseline import RawBaselines
from pytest_servebench.readings import readings_beside
from pytest_servebench.results import RAW_LEFT_OUT, Answer, CaseResult, Endpoint, RawBaseline
from pytest_servebench.rooms import Rooms
from pytest_servebench.runner import ask_case, bring_up, run_case
from pytest_servebench.staged.run import is_staged, run_staged
from pytest_servebench.telemetry.gpu_devices import gpu_identity

IMAGE_SEED = 0


@dataclass(frozen=True, slots=True)
class NamedAnswer:
    """What a stack said of one image, by name, beside what the model in process says."""

    image: str
    class_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    confidences: tuple[float, ...]
    reference_class_id: int


class BenchSession:
    """The rooms of one session, furnished from its plan; a server is up only while one is needed.

    ``tell`` is told, while a case waits, for what and how long; None: nobody watches. ``making`` is told
    what the engine says while it makes an image: its name, and a line. ``gpus`` are all of this
    machine, ``labels`` those of a stack's containers.
    """

    def __init__(
        self,
        plan: Plan,
        stacks: Mapping[str, Stack],
        folder: Callable[[], Path],
        *,
        tell: Tell | None = None,
        making: Callable[[str, str], None] = lambda *_: None,
        gpus: tuple[Gpu, ...] = (),
        labels: Callable[[str], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self.plan = plan
        self.stacks = stacks
        self.deployments: list[Deployment] = []
        """Every deployment that the collected tests will ask for, in order."""
        self.cases: list[Case] = []
        """Every case that they will measure."""
        self._folder = folder
        self._tell = tell
        self._making = making
        self._gpus = gpus
        self._labels = labels
        self._clock = MonotonicClock()
        self._driver = Engines()
        self._ceilings = Ceilings(self._driver)
        self._raw_baselines = RawBaselines(self._artifact, self.cases)

    @cached_property
    def pool(self) -> ServerPool:
        """The one server that is up."""
        return ServerPool(
            stacks=self.stacks,
            launchers={name: self._launcher(name) for name in self.plan.stacks},
            driver=self._driver,
            clock=self._clock,
            artifact=self._artifact,
            deployments=self.deployments,
            folder=self._folder(),
            attached=self.plan.attached,
        )

    @cached_property
    def rooms(self) -> Rooms:
        """What the conductor needs."""
        return Rooms(
            stacks=self.stacks,
            driver=self._driver,
            clock=self._clock,
            artifact=self._artifact,
            images=_images,
            reference=self._reference,
            telemetry=lambda endpoint, deployment: readings_beside(
                endpoint,
                deployment,
                self.stacks[deployment.stack],
                self._driver,
                self._clock,
            ),
            ceiling=self._ceilings.of,
            raw=self._raw_baselines.of if self.plan.raw else _left_out,
            held=held_in,
            starting=lambda case: self._leases.starting(case.id),
            measuring=lambda case: self._leases.measuring(case.id),
        )

    def artifact_sha256(self, deployment: Deployment) -> str:
        """Return the hash of the model file that a deployment serves."""
        return self._artifact(deployment).sha256

    def launch_group(self, deployment: Deployment) -> str:
        """Return what deployments of its stack have in common that one launched server can serve with it."""
        return launch_group(self.stacks[deployment.stack], deployment)

    def log_tail(self, stack: str) -> str:
        """Return the last log lines of the server of ``stack`` that is up; empty when none is."""
        return self.pool.log_tail(stack) if "pool" in self.__dict__ else ""

    def close(self, *, in_turn: bool = False) -> None:
        """End the server that is up and the workers that send, if any; ``in_turn``: beside no window.

        An interrupted wait ends them all the same, as does one for locks that cannot be had.
        """
        with ExitStack() as held:
            try:
                if in_turn and "pool" in self.__dict__ and self.pool.has_own:
                    held.enter_context(self._leases.ending())
            finally:
                self._end_all()

    def _end_all(self) -> None:
        try:
            if "pool" in self.__dict__:
                self.pool.close()
        finally:
            self._driver.close()

    def _launcher(self, stack: str) -> Launcher:
        url, plan = self.plan.attached.get(stack), self.plan
        if url:
            return AttachLauncher(url)
        if plan.launcher is not LauncherKind.DOCKER:
            return ProcessLauncher(clock=self._clock, host=plan.host)
        first, *more = [gpu.machine_index for gpu in plan.lane.gpus] or plan.device.indexes or [0]
        return DockerLauncher(
            settings=plan.container,
            # The engine counts all GPUs, CUDA_VISIBLE_DEVICES or not.
            device=replace(plan.device, index=first, more=tuple(more)),
            part=next((gpu.uuid for gpu in plan.lane.gpus if gpu.is_part), ""),
            host=plan.host,
            labels=self._labels(stack),
            clock=self._clock,
            # A container is no child of ours: what we are kept to it has to be told.
            cpu_set=plan.lane.cpu_set or set_text(narrowed()),
            making=self._making,
            workshop=Workshop(cache_dir=plan.cache_dir, gpu=gpu_identity),
        )

    def _artifact(self, deployment: Deployment) -> Artifact:
        stack, stored_as = self.stacks[deployment.stack], deployment.format
        if stored_as is ModelFormat.TENSORRT and getattr(stack, "compiles_torchscript", False):
            stored_as = ModelFormat.PYTORCH
        made = artifact(
            deployment.model,
            stored_as,
            self.plan.cache_dir,
            precision=deployment.precision,
            input_dtype=deployment.input_dtype,
            cast=not getattr(stack, "casts_nothing", False),
        )
        return replace(made, format=deployment.format)

    def _reference(self, case: Case, images: Sequence[Image]) -> npt.NDArray[np.float32]:
        """One reference for every format: the model in process, by ONNX Runtime on the CPU."""
        onnx = artifact(case.deployment.model, ModelFormat.ONNX, self.plan.cache_dir)
        return reference_logits(onnx, images)

    @property
    def _leases(self) -> Leases:
        """No two measurements of a user share a lane, not even those of two sessions or workers."""
        # By user: in a shared folder for temporary files nobody may open the locks of somebody else.
        folder = Path(tempfile.gettempdir()) / f"servebench-leases-{os.getuid()}"
        machine = Machine(cores=count_cores(), gpus=self._gpus)
        return Leases(self.plan.lane, machine, folder, self._clock, self._tell)


@lru_cache(maxsize=8)
def _image_set(name: str, model: str, count: int) -> tuple[Image, ...]:
    return image_set(name, model_card(model), count, IMAGE_SEED)


def _left_out(_case: Case, _endpoint: Endpoint) -> RawBaseline:
    return RAW_LEFT_OUT


def _images(case: Case, count: int) -> tuple[Image, ...]:
    return _image_set(case.images, case.deployment.model, count)


class Servebench:
    """What a benchmark is handed: measure a case, or just ask it.

    ``watching`` looks on while a case runs; ``judge_and_record`` is told every result
    before the benchmark sees it. ``smoke``: loads are short, nothing is recorded, no capacity is looked for,
    no model is measured in process. ``repeat``: what the test is a replicate of; cases that it makes itself
    belong to the same one.
    """

    def __init__(
        self,
        session: BenchSession,
        watching: Callable[[Case], AbstractContextManager[Watch]],
        judge_and_record: Callable[[CaseResult], None],
        *,
        smoke: bool = False,
        repeat: int | None = None,
    ) -> None:
        self._repeat = repeat
        self._session = session
        self._watching = watching
        self._judge_and_record = judge_and_record
        self._smoke = smoke

    def measure(self, case: Case) -> CaseResult:
        """Bring the case's server up, verify its answers, load it, record the result and return it.

        The test fails after its last line when the run is not valid or breaches a limit.
        Raises `LaunchError`, `ControlError` or `ModelError` when there is nothing to measure.
        """
        case = self._checked(case)
        if case.objective is not None:
            raise PlanError(
                "a case with an objective has no load to be measured under: its rate is looked for",
                where=case.id,
                next_step="call servebench.capacity(case)",
            )
        run = run_staged if is_staged(case) else run_case
        with self._watching(case) as watch:
            result = run(case, self._rooms, self._session.pool, watch)
        self._judge_and_record(result)
        return result

    def capacity(self, case: Case) -> CaseResult:
        """Find the highest rate that holds the case's objective; record the run that confirmed it.

        ``result.capacity`` has the last passing and the first failing rate and every trial. The test
        fails after its last line as with `measure`, and when no rate holds. Raises what `measure` raises.
        """
        case = self._checked(case)
        with self._watching(case) as watch:
            result = find_capacity(case, self._rooms, self._session.pool, watch, smoke=self._smoke)
        self._judge_and_record(result)
        return result

    def up(self, case: Case) -> Endpoint:
        """Bring the case's server up with its model loaded, and return where it listens.

        It stays up until a case needs another server. Raises `LaunchError`, `ControlError` or `ModelError`.
        """
        case = self._checked(case)
        return bring_up(case, self._session.rooms, self._session.pool)

    def ask(self, case: Case) -> dict[str, NamedAnswer]:
        """Bring the case's server up, ask every image once, and return the answers by image name.

        Raises `AnswerError` when a reply cannot be read or does not equal the reference.
        """
        case = self._checked(case)
        with self._watching(case):
            answered = ask_case(case, self._session.rooms, self._session.pool)
        return {image.name: _named(image, answer, row) for image, answer, row in answered}

    @property
    def _rooms(self) -> Rooms:
        rooms = self._session.rooms
        return replace(rooms, raw=_left_out) if self._smoke else rooms

    def _checked(self, case: object) -> Case:
        """Return a case as the test's repeat has it; raises `PlanError` for what cannot be served.

        A case made by hand is not checked at the door.
        """
        stacks = self._session.plan.stacks
        if not isinstance(case, Case) or case.stack not in stacks or case.items_per_request < 1:
            raise PlanError(
                "this cannot be measured",
                seen=repr(case),
                next_step=f"give a Case of a chosen stack ({', '.join(stacks)}) with 1 item or more",
            )
        return case if case.repeat else replace(case, repeat=self._repeat)


def _named(image: Image, answer: Answer, reference: npt.NDArray[np.float32]) -> NamedAnswer:
    names = imagenet_labels()
    return NamedAnswer(
        image=image.name,
        class_ids=answer.class_ids,
        class_names=tuple(names[i] for i in answer.class_ids),
        confidences=answer.confidences,
        reference_class_id=int(reference.argmax()),
    )
