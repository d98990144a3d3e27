"""The server's settings, as an operator sets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi_app.app import batching_rule, by_device, create_app
from fastapi_app.backlog import BatchingRule
from fastapi_app.settings import Settings, SettingsError, read_settings


@pytest.fixture
def model_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a model file with its card and labels, named by the environment."""
    for name in ("model.onnx", "model.pt", "model.txt", "card.json", "labels.json"):
        (tmp_path / name).touch()
    monkeypatch.setenv("SERVEBENCH_MODEL_PATH", str(tmp_path / "model.onnx"))
    return tmp_path / "model.onnx"


def test_defaults_are_the_references(model_path: Path) -> None:
    """Queue 100, batch 8, wait 50 ms, and card and labels beside the model."""
    settings = read_settings()
    assert batching_rule(settings) == BatchingRule(8, 50_000_000, 100, "expected")
    assert settings.card_path == model_path.parent / "card.json"
    assert settings.labels_path == model_path.parent / "labels.json"
    assert (settings.format, settings.device_index) == ("onnx", None)


def test_environment_sets_the_rule(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the batcher's numbers is a variable."""
    del model_path
    for name, value in (
        ("MAX_BATCH_SIZE", "32"),
        ("MAX_QUEUE_DELAY_MS", "0.5"),
        ("QUEUE_SIZE", "7"),
        ("HOLD", "always"),
    ):
        monkeypatch.setenv(f"SERVEBENCH_{name}", value)
    assert batching_rule(read_settings()) == BatchingRule(32, 500_000, 7, "always")


def test_cuda_provider_options_are_settings(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the CUDA provider can be told, the environment can tell it."""
    del model_path
    for name, value in (
        ("DEVICE", "cuda:1"),
        ("CUDA_ARENA_EXTEND_STRATEGY", "kSameAsRequested"),
        ("CUDA_MEMORY_LIMIT_BYTES", "2147483648"),
        ("CUDA_CUDNN_CONV_ALGO_SEARCH", "HEURISTIC"),
        ("CUDA_DO_COPY_IN_DEFAULT_STREAM", "false"),
        ("CUDA_PREFER_NHWC", "true"),
    ):
        monkeypatch.setenv(f"SERVEBENCH_{name}", value)
    assert read_settings().provider_options == {
        "device_id": 1,
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": 2147483648,
        "cudnn_conv_algo_search": "HEURISTIC",
        "do_copy_in_default_stream": False,
        "prefer_nhwc": 1,
    }


def test_no_memory_limit_leaves_the_option_out(model_path: Path) -> None:
    """A limit that nobody set is the provider's own, not a number of ours."""
    settings = Settings(model_path=model_path, device="cuda")
    assert not {"gpu_mem_limit", "cudnn_conv_algo_search"} & set(settings.provider_options)
    assert (settings.device_index, settings.devices) == (0, ("cuda",))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MAX_BATCH_SIZE", "0", 'SERVEBENCH_MAX_BATCH_SIZE: Input should be greater than 0 (seen: "0")'),
        ("MAX_QUEUE_DELAY_MS", "nan", "SERVEBENCH_MAX_QUEUE_DELAY_MS: Input should be a finite number"),
        ("MAX_QUEUE_DELAY_MS", "-1", "SERVEBENCH_MAX_QUEUE_DELAY_MS: Input should be greater than or equal"),
        ("QUEUE_SIZE", "many", "SERVEBENCH_QUEUE_SIZE: Input should be a valid integer"),
        ("DEVICE", "gpu", "SERVEBENCH_DEVICE: String should match pattern"),
        ("DEVICE", "cuda:0,", "SERVEBENCH_DEVICE: String should match pattern"),
        ("DEVICE", "cuda:1,0,1", "SERVEBENCH_DEVICE: Value error, cuda:1,0,1 names a GPU twice"),
        ("HOLD", "maybe", "SERVEBENCH_HOLD: Input should be 'expected', 'always' or 'never'"),
        ("GRAPH_OPTIMIZATION", "most", "SERVEBENCH_GRAPH_OPTIMIZATION: Input should be"),
        ("PRECISION", "tf32", "SERVEBENCH_PRECISION=tf32 needs SERVEBENCH_DEVICE=cuda"),
        ("PRECISION", "fp8", "SERVEBENCH_PRECISION: Input should be 'fp32', 'tf32', 'fp16', 'bf16' or"),
        ("MODEL_FORMAT", "tensorrt", "SERVEBENCH_MODEL_FORMAT=tensorrt needs SERVEBENCH_DEVICE=cuda"),
        ("MODEL_FORMAT", "pytorch", "SERVEBENCH_MODEL_FORMAT=pytorch, and model.onnx is onnx"),
        ("CUDA_GRAPHS", "maybe", "SERVEBENCH_CUDA_GRAPHS: Input should be 'auto', 'on' or 'off'"),
        ("MODEL_NAME", "a/b", "SERVEBENCH_MODEL_NAME: String should match pattern"),
        ("LABELS_PATH", "/nowhere.json", "SERVEBENCH_LABELS_PATH: Path does not point to a file"),
    ],
)
def test_wrong_setting_is_named(
    model_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    """A wrong value is reported under the variable that holds it."""
    del model_path
    monkeypatch.setenv(f"SERVEBENCH_{name}", value)
    with pytest.raises(SettingsError) as wrong:
        read_settings()
    assert str(wrong.value).startswith("the server's settings are wrong:\n  ")
    assert reason in str(wrong.value)


def test_half_precision_of_torch_needs_a_gpu(model_path: Path) -> None:
    """TorchScript computes fp16 on a GPU alone and bf16 anywhere; an onnx file carries its own."""
    with pytest.raises(ValueError, match="SERVEBENCH_PRECISION=fp16 needs SERVEBENCH_DEVICE=cuda"):
        Settings(model_path=model_path.with_suffix(".pt"), precision="fp16")
    assert Settings(model_path=model_path.with_suffix(".pt"), precision="bf16").precision == "bf16"
    assert Settings(model_path=model_path, precision="fp16").format == "onnx"


def test_a_file_is_compiled_where_that_is_asked_for(model_path: Path) -> None:
    """The format is the file's, but for tensorrt, which either file can be compiled to."""
    on_gpu: dict[str, Any] = {"device": "cuda", "model_format": "tensorrt"}
    assert Settings(model_path=model_path, **on_gpu).format == "tensorrt"
    assert Settings(model_path=model_path.with_suffix(".pt"), **on_gpu).format == "tensorrt"
    assert Settings(model_path=model_path, model_format="onnx").format == "onnx"


def test_several_gpus_are_several_devices(model_path: Path) -> None:
    """Each engine is told its own GPU, and CUDA's provider too."""
    settings = Settings(model_path=model_path, device="cuda:0,2")
    assert settings.devices == ("cuda:0", "cuda:2")
    told = [(one.device, one.provider_options["device_id"]) for one in by_device(settings)]
    assert told == [("cuda:0", 0), ("cuda:2", 2)]
    assert by_device(Settings(model_path=model_path)) == (Settings(model_path=model_path),)


def test_unknown_model_file_is_refused(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only formats with an engine are taken."""
    monkeypatch.setenv("SERVEBENCH_MODEL_PATH", str(model_path.with_suffix(".txt")))
    with pytest.raises(SettingsError, match=r"model\.txt is neither \.onnx nor \.pt"):
        read_settings()


def test_application_exits_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without a model ends before it listens, with one sentence and nothing else."""
    monkeypatch.delenv("SERVEBENCH_MODEL_PATH", raising=False)
    with pytest.raises(SystemExit) as ended:
        create_app()
    assert ended.value.code == "the server's settings are wrong:\n  SERVEBENCH_MODEL_PATH: must be set"


def test_nvjpeg_needs_a_gpu(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is loaded; auto may be asked for anywhere."""
    del model_path
    monkeypatch.setenv("SERVEBENCH_DECODER", "nvjpeg")
    with pytest.raises(SettingsError, match="SERVEBENCH_DECODER=nvjpeg needs SERVEBENCH_DEVICE=cuda"):
        read_settings()
    monkeypatch.setenv("SERVEBENCH_DEVICE", "cuda:1")
    assert read_settings().decoder == "nvjpeg"
    monkeypatch.setenv("SERVEBENCH_DEVICE", "cpu")
    monkeypatch.setenv("SERVEBENCH_DECODER", "auto")
    assert read_settings().decoder == "auto"
