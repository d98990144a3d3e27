"""What promtool finds wrong with the names that Triton and TorchServe gave their own metrics."""

from __future__ import annotations

_TOTAL = 'counter metrics should have "_total" suffix'
_COUNT = 'non-histogram and non-summary metrics should not have "_count" suffix'
_ABBREVIATED = "metric names should not contain abbreviated units"
_TYPE = "metric name should not include type 'summary'"
_MICROSECONDS = 'use base unit "seconds" instead of "microseconds"'

_BY_SERVER: dict[str, dict[str, tuple[str, ...]]] = {
    "fastapi": {},
    "triton": {
        "nv_inference_request_success": (_TOTAL,),
        "nv_inference_request_failure": (_TOTAL,),
        "nv_inference_count": (_TOTAL, _COUNT),
        "nv_inference_exec_count": (_TOTAL, _COUNT),
        "nv_inference_pending_request_count": (_COUNT,),
        "nv_inference_request_duration_us": (_TOTAL, _ABBREVIATED),
        "nv_inference_queue_duration_us": (_TOTAL, _ABBREVIATED),
        "nv_inference_compute_input_duration_us": (_TOTAL, _ABBREVIATED),
        "nv_inference_compute_infer_duration_us": (_TOTAL, _ABBREVIATED),
        "nv_inference_compute_output_duration_us": (_TOTAL, _ABBREVIATED),
        "nv_inference_request_summary_us": (_TYPE, _ABBREVIATED),
        "nv_inference_queue_summary_us": (_TYPE, _ABBREVIATED),
        "nv_inference_compute_input_summary_us": (_TYPE, _ABBREVIATED),
        "nv_inference_compute_infer_summary_us": (_TYPE, _ABBREVIATED),
        "nv_inference_compute_output_summary_us": (_TYPE, _ABBREVIATED),
    },
    "torchserve": {
        "ts_inference_latency_microseconds": (_TOTAL, _MICROSECONDS),
        "ts_queue_latency_microseconds": (_TOTAL, _MICROSECONDS),
        "Requests2XX": (_TOTAL,),
        "Requests4XX": (_TOTAL,),
        "Requests5XX": (_TOTAL,),
    },
}


def known_complaints(stack: str) -> set[str]:
    """Return promtool's lines about a stack's page that only its makers could mend."""
    return {f"{name} {text}" for name, texts in _BY_SERVER[stack].items() for text in texts}
