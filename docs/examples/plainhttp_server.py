"""A small model server: float32 pixels in, float32 logits out, over plain HTTP."""

from __future__ import annotations

import argparse
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnxruntime


class Server(ThreadingHTTPServer):
    """A thread per connection, all before one session of ONNX Runtime."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, address: tuple[str, int], model: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.counts = {"images": 0, "executions": 0}
        self.counting = threading.Lock()
        super().__init__(address, Handler)

    def infer(self, body: bytes) -> bytes:
        """Return the logits, [n, 1000], of the images in ``body``, [n, 3, 224, 224]."""
        images = np.frombuffer(body, "<f4").reshape(-1, 3, 224, 224)
        (logits,) = self.session.run(["output"], {"input": images})
        with self.counting:
            self.counts["images"] += len(images)
            self.counts["executions"] += 1
        return np.ascontiguousarray(logits, "<f4").tobytes()


class Handler(BaseHTTPRequestHandler):
    """One connection, kept open between requests."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body of a reply waits for the acknowledgement of its head

    def do_GET(self) -> None:
        """Say that the server is ready, or what it has done."""
        known = {"/ready": {}, "/counters": self.server.counts}
        self.answer(200 if self.path in known else 404, json.dumps(known.get(self.path)).encode())

    def do_POST(self) -> None:
        """Infer; 400 with the reason when the body is no images."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self.answer(200, self.server.infer(body))
        except ValueError as error:
            self.answer(400, str(error).encode())

    def answer(self, status: int, body: bytes) -> None:
        """Send a whole reply."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
        """Write nothing per request."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    Server((given.host, given.port), given.model, given.threads).serve_forever()
