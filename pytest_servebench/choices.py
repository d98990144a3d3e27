"""The closed vocabularies that cases and plans are made of: what a user types, one word one meaning."""

from __future__ import annotations

from pytest_servebench.words import Word


class ModelFormat(Word):
    """How a model is stored."""

    ONNX = "onnx"
    PYTORCH = "pytorch"
    TENSORRT = "tensorrt"


class Payload(Word):
    """What one image is on the wire."""

    TENSOR = "tensor"
    JPEG = "jpeg"
    UINT8 = "uint8"
    """A tensor of pixels, which the model's own graph normalises: a quarter of the bytes of ``tensor``."""
    SHM = "shm"
    """A tensor in system shared memory; the request only says where."""
    CUDASHM = "cudashm"
    """A tensor in the memory of the GPU that the server computes on; the request only says where."""


class Decoder(Word):
    """What turns JPEG into pixels, in the server."""

    AUTO = "auto"
    """nvJPEG on a GPU, where the server has it; else Pillow."""
    PILLOW = "pillow"
    """On the CPU."""
    NVJPEG = "nvjpeg"
    """On the GPU, by torchvision."""
    DALI = "dali"
    """On the GPU, by Triton's DALI backend."""


SHARED_PAYLOADS = frozenset({Payload.SHM, Payload.CUDASHM})
"""Those whose tensors lie in memory that client and server share."""


class WireProtocol(Word):
    """How a request travels."""

    HTTP = "http"
    GRPC = "grpc"


class Engine(Word):
    """What makes the load."""

    SERVEBENCH = "servebench"
    K6 = "k6"


class LauncherKind(Word):
    """Who brings a stack up."""

    PROCESS = "process"
    DOCKER = "docker"
    ATTACH = "attach"


class Precision(Word):
    """The arithmetic a model runs in."""

    FP32 = "fp32"
    """IEEE single precision, also on a GPU: TF32 is off."""
    TF32 = "tf32"
    """Products formed of 11 bits, sums in fp32: what most libraries do on a GPU unless told not to."""
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    """Eight-bit weights and activations, calibrated on images."""


class InputDtype(Word):
    """The type of the numbers that a model's graph takes."""

    FLOAT32 = "float32"
    """Preprocessed and normalised."""
    UINT8 = "uint8"
    """Pixels, resized and cropped; the graph begins with the normalisation."""
