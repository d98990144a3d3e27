"""A stand-in for torch with a GPU: records what is asked of it in order, and computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

CLASSES = 5


class Tensor:
    """A tensor, by the size of its batch and where it is."""

    def __init__(self, home: RecordedTorch, size: int, place: str) -> None:
        self._home, self._size, self.place = home, size, place

    def __len__(self) -> int:
        return self._size

    def to(self, place: Any, *, non_blocking: bool = False) -> Tensor:
        self._home.said.append(f"to {place}" + (" without waiting" if non_blocking else ""))
        # Another type is no other place.
        return Tensor(self._home, self._size, self.place if str(place).startswith("torch.") else str(place))

    def contiguous(self, memory_format: str) -> Tensor:
        self._home.said.append(memory_format)
        return self

    def copy_(self, other: Tensor, *, non_blocking: bool) -> None:
        assert len(other) == len(self)
        self._home.said.append("copy into the graph's input" + (", without waiting" if non_blocking else ""))

    def float(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> npt.NDArray[np.float32]:
        return np.zeros((self._size, CLASSES), np.float32)


class Weights:
    """A parameter; its data is itself."""

    def __init__(self, dims: int) -> None:
        self.dims, self.dtype = dims, "torch.float32"

    @property
    def data(self) -> Weights:
        return self

    @data.setter
    def data(self, other: Weights) -> None:
        self.dtype = other.dtype

    def dim(self) -> int:
        return self.dims

    def numel(self) -> int:
        return 1000 if self.dims > 1 else 10

    def to(self, dtype: str) -> Weights:
        turned = Weights(self.dims)
        turned.dtype = dtype
        return turned


class Module:
    """A TorchScript module."""

    def __init__(self, home: RecordedTorch) -> None:
        self._home = home
        self.weights = [Weights(4), Weights(1), Weights(2)]

    def eval(self) -> Module:
        return self

    def to(self, memory_format: str) -> Module:
        self._home.said.append(f"module {memory_format}")
        return self

    def half(self) -> Module:
        self._home.said.append("module in half")
        return self

    def parameters(self) -> list[Weights]:
        return self.weights

    def __call__(self, tensor: Tensor) -> Tensor:
        assert tensor.place.startswith("cuda")
        self._home.need_its_gpu(tensor.place)
        self._home.said.append(f"forward {len(tensor)} {self._home.inside[-1]}")
        return tensor


def _stream(device: Any) -> Any:
    """Return a stream of a GPU."""
    return SimpleNamespace(wait_stream=lambda _: None, gpu=device.index or 0)


class RecordedTorch:
    """Stands where the module ``torch`` would, on a machine with a GPU."""

    __version__ = "2.13.0"
    float16, bfloat16, float32, uint8 = "torch.float16", "torch.bfloat16", "torch.float32", "torch.uint8"
    channels_last = "channels_last"

    def __init__(self) -> None:
        self.said: list[str] = []
        self.inside = ["eagerly"]
        """How forwards run: newest last."""
        self.module = Module(self)
        self.loaded: list[str] = []
        self.saved: list[str] = []
        self.pinned: list[int] = []
        self.pinned_on: list[int] = []
        self.version = SimpleNamespace(cuda="13.0")
        self.current_gpu = 0
        """Of this thread, as CUDA has it: 0 unless somebody says another."""
        self.captures: list[tuple[int, str]] = []
        """The GPU of each capture's stream, and whose calls to CUDA break it."""
        self.autocasts: set[tuple[str, Any, bool]] = set()
        switch = SimpleNamespace(allow_tf32=None)
        self.backends = SimpleNamespace(
            cuda=SimpleNamespace(matmul=switch), cudnn=SimpleNamespace(allow_tf32=None)
        )
        self.fusers = {"texpr": True, "gpu": True}
        """What compiles kernels of TorchScript; both are on unless somebody says otherwise."""
        self._C = SimpleNamespace(
            _jit_set_texpr_fuser_enabled=lambda on: self.fusers.update(texpr=on),
            _jit_override_can_fuse_on_gpu=lambda on: self.fusers.update(gpu=on),
            _jit_texpr_fuser_enabled=lambda: self.fusers["texpr"],
        )
        self.jit = SimpleNamespace(load=self._load, save=self._save)
        self.cuda = SimpleNamespace(
            is_available=lambda: True,
            device=self._on_gpu,
            Stream=_stream,
            current_stream=_stream,
            stream=lambda _: self._within("beside"),
            CUDAGraph=lambda: SimpleNamespace(replay=lambda: self.said.append("replay")),
            graph=self._capture,
        )

    def device(self, name: str) -> Any:
        kind, _, index = name.partition(":")

        class Device(SimpleNamespace):
            def __str__(self) -> str:
                return name

        return Device(type=kind, index=int(index) if index else None)

    def set_num_threads(self, count: int) -> None: ...

    @contextmanager
    def inference_mode(self) -> Iterator[None]:
        yield

    @contextmanager
    def autocast(self, kind: str, *, dtype: Any, enabled: bool, cache_enabled: bool) -> Iterator[None]:
        assert not cache_enabled
        self.autocasts.add((kind, dtype, enabled))
        yield

    def from_numpy(self, array: npt.NDArray[Any]) -> Tensor:
        assert array.flags.writeable
        return Tensor(self, len(array), "cpu")

    def need_its_gpu(self, place: str) -> None:
        """Fail where the GPU of ``place`` is not the current one."""
        assert int(place.partition(":")[2] or 0) == self.current_gpu

    @contextmanager
    def _on_gpu(self, index: int) -> Iterator[None]:
        before, self.current_gpu = self.current_gpu, index
        yield
        self.current_gpu = before

    def _capture(self, graph: Any, *, stream: Any, capture_error_mode: str) -> AbstractContextManager[None]:
        assert hasattr(graph, "replay")
        assert stream.gpu == self.current_gpu
        self.captures.append((stream.gpu, capture_error_mode))
        return self._within("captured")

    def _load(self, path: str, map_location: Any = None) -> Module:
        if str(map_location).startswith("cuda"):
            # Torch-TensorRT puts an engine on the GPU that is current then, whatever the location.
            self.need_its_gpu(str(map_location))
        self.loaded.append(f"{path} on {map_location}")
        return self.module

    def _save(self, module: Any, path: str) -> None:
        from pathlib import Path

        Path(path).write_text("compiled", encoding="utf-8")
        self.saved.append(path)

    def pin(self, buffer: Any, cuda_version: str) -> bool:
        """Stand in for `pinned_memory.pin`."""
        assert cuda_version == self.version.cuda
        self.pinned_on.append(self.current_gpu)
        self.pinned.append(buffer.nbytes)
        return True

    @contextmanager
    def _within(self, how: str) -> Iterator[None]:
        self.inside.append(how)
        yield
        self.inside.pop()
