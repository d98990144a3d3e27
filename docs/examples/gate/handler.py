"""A model server of one's own: pixels in, scores out."""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import numpy.typing as npt
import onnxruntime

OPTIONS = onnxruntime.SessionOptions()
OPTIONS.intra_op_num_threads = 1
SESSION = onnxruntime.InferenceSession("model.onnx", OPTIONS, providers=["CPUExecutionProvider"])
KEYS = ("customer", "quota", "region", "tariff", "flags")


def ask_store(keys: tuple[str, ...]) -> None:
    """Stand for a query to a database that is 30 ms away."""
    time.sleep(0.03)


def work(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the scores, [n, 1000], of the images, [n, 3, 224, 224]."""
    ask_store(KEYS)
    (scores,) = SESSION.run(None, {"input": pixels})
    return np.asarray(scores, "<f4")


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Say that the server is ready."""
        self.answer(b"ready")

    def do_POST(self) -> None:
        """Answer pixels with scores."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(work(np.frombuffer(body, "<f4").reshape(-1, 3, 224, 224)).tobytes())

    def answer(self, body: bytes) -> None:
        """Send a whole reply."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
