// The staged load test, for the real k6: ramp to 100 requests/s, hold, ramp to 500, hold, ramp down; 16 minutes.
//
//   k6 run -e STACK=fastapi -e URL=http://127.0.0.1:8000 benchmarks/k6/staged_load.js
//
// STACK       fastapi, triton or torchserve
// URL         http://HOST:PORT of its inference port
// MODEL       name on the server; default resnet50_onnx. Triton takes JPEG files in its ensemble MODEL_jpeg.
// PAYLOAD     jpeg (default) or tensor: float32 [3, 224, 224]
// IMAGE       a JPEG file, its path absolute or relative to this script; default image.jpg
// TENSOR      a file of little-endian float32 numbers; default zeros
// ROUTE       fastapi with jpeg: default /classify; /classify_batched gathers requests
// RATE_SCALE  multiplies the rates; TIME_SCALE multiplies the times; default 1
// VUS         most requests in flight; default 200. An arrival beyond is dropped and counted.
//
// `pytest --serve-load-engine=k6` runs the same script: CONFIGURATION then names a JSON file with the scenario and
// the requests, encoded once by the stack (pytest_servebench/k6/configuration.py), and thresholds are judged there.

import { check, sleep } from "k6";
import encoding from "k6/encoding";
import exec from "k6/execution";
import http from "k6/http";

const OK = 200;
const ON_TIME_MS = 100;
const PAUSE_S = 0.05; // after a transport error in a closed loop, so that errors do not spin
const HEADER_LENGTH = "Inference-Header-Content-Length";
const SIDE = 224;
const ENCODERS = { fastapi: askFastapi, triton: askTriton, torchserve: askTorchserve };

const asked = __ENV.CONFIGURATION ? JSON.parse(open(__ENV.CONFIGURATION)) : byHand(__ENV);
const mine = requestsOf(__VU, asked);
let sent = 0;
const kept = new Set();
let keptBytes = 0;
let keptSlice = -1;

export const options = {
  scenarios: { load: asked.scenario },
  thresholds: asked.thresholds || {},
  systemTags: ["name", "status", "error", "error_code", "group", "check", "vu", "iter"],
};

// A proxy's redirect or a 204 is no answer of a model.
http.setResponseCallback(http.expectedStatuses(OK));

export default function () {
  const request = mine[sent++ % mine.length];
  const number = exec.scenario.iterationInTest;
  if (number === 0 && __ENV.CONFIGURATION) {
    console.log(JSON.stringify({ start_ms: exec.scenario.startTime }));
  }
  const reply = http.request(request.method, request.url, request.body, request.params);
  check(reply, request.checks);
  if (asked.keep && reply.status === OK) {
    keep(reply, number, request.index);
  } else if (reply.status === 0 && asked.scenario.vus) {
    sleep(PAUSE_S);
  }
}

// What is asked: by a configuration, or by hand.

function requestsOf(vu, { requests, virtual_users: users, timeout_ms: timeout }) {
  // Each user holds its share, so that bodies are not in memory once for every user. The first, vu 0, only
  // opens the files: k6 lets the others open no more than it has.
  const own = requests.map((request, index) => ({ ...request, index }));
  const share = own.filter((_, index) => vu === 0 || index % users === (vu - 1) % Math.min(users, own.length));
  return share.map(({ method, url, headers, body, body_file: file, index }) => ({
    index,
    method,
    url,
    body: file ? open(file, "b") : body || null,
    params: {
      // Go would name itself otherwise.
      headers: { "User-Agent": "", ...headers },
      tags: { name: String(index) },
      responseType: isJson(url) ? "text" : "binary",
      timeout,
      redirects: 0,
    },
    checks: checksOf(url),
  }));
}

function byHand(env) {
  const stack = env.STACK || "fastapi";
  if (!env.URL || !ENCODERS[stack]) {
    throw new Error("give -e STACK=fastapi|triton|torchserve and -e URL=http://HOST:PORT");
  }
  const users = Number(env.VUS || 200);
  const request = ENCODERS[stack](env, env.MODEL || "resnet50_onnx", env.PAYLOAD || "jpeg");
  return {
    requests: [{ method: "POST", headers: request.headers, body: request.body, url: env.URL + request.path }],
    virtual_users: users,
    timeout_ms: 30000,
    scenario: referenceStages(users, Number(env.RATE_SCALE || 1), Number(env.TIME_SCALE || 1)),
    thresholds: { http_req_duration: ["p(95)<50"], http_req_failed: ["rate<0.02"] },
  };
}

function referenceStages(users, rates, times) {
  const stages = [[120, 100], [300, 100], [120, 500], [300, 500], [120, 0]];
  return {
    executor: "ramping-arrival-rate",
    startRate: 0,
    // Per 1000 s, because rates are whole numbers.
    timeUnit: "1000s",
    preAllocatedVUs: users,
    maxVUs: users,
    gracefulStop: "31s",
    stages: stages.map(([seconds, perSecond]) => ({
      duration: `${Math.round(seconds * times * 1000)}ms`,
      target: Math.round(perSecond * rates * 1000),
    })),
  };
}

// How each stack is asked; see pytest_servebench/stacks.

function askFastapi(env, model, payload) {
  if (payload === "tensor") return askTensor(env, model);
  const boundary = "k6-8c1f2ab0e7c34e0b9d5f6a1c";
  const file = 'Content-Disposition: form-data; name="file"; filename="image.jpg"\r\nContent-Type: image/jpeg';
  return {
    path: env.ROUTE || "/classify",
    headers: { "Content-Type": `multipart/form-data; boundary=${boundary}` },
    body: joined(`--${boundary}\r\n${file}\r\n\r\n`, imageOf(env), `\r\n--${boundary}--\r\n`),
  };
}

function askTriton(env, model, payload) {
  if (payload === "tensor") return askTensor(env, model);
  // BYTES: each element after its length, 4 bytes, little-endian.
  const image = imageOf(env);
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, image.byteLength, true);
  return v2(`${model}_jpeg`, "image", "BYTES", [1, 1], joined(length.buffer, image));
}

function askTorchserve(env, model, payload) {
  return {
    path: `/predictions/${model}`,
    headers: { "Content-Type": payload === "tensor" ? "application/x-float32" : "image/jpeg" },
    body: payload === "tensor" ? tensorOf(env) : imageOf(env),
  };
}

function askTensor(env, model) {
  return v2(model, "input", "FP32", [1, 3, SIDE, SIDE], tensorOf(env));
}

function v2(model, name, datatype, shape, data) {
  const input = { name, shape, datatype, parameters: { binary_data_size: data.byteLength } };
  const head = JSON.stringify({ inputs: [input], parameters: { binary_data_output: true } });
  return {
    path: `/v2/models/${model}/infer`,
    headers: { "Content-Type": "application/octet-stream", [HEADER_LENGTH]: String(head.length) },
    body: joined(head, data),
  };
}

function imageOf(env) {
  return open(env.IMAGE || "./image.jpg", "b");
}

function tensorOf(env) {
  return env.TENSOR ? open(env.TENSOR, "b") : new Float32Array(3 * SIDE * SIDE).buffer;
}

function joined(...parts) {
  const bytes = parts.map((part) => (typeof part === "string" ? ascii(part) : new Uint8Array(part)));
  const whole = new Uint8Array(bytes.reduce((sum, part) => sum + part.length, 0));
  bytes.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole.buffer;
}

function ascii(text) {
  return Uint8Array.from([...text].map((letter) => letter.charCodeAt(0)));
}

// What is checked of every reply. Which answer it must be, is for the kept replies.

function isJson(url) {
  return /\/(classify\w*|predictions\/[^/]+)$/.test(url);
}

function checksOf(url) {
  const checks = {
    "status is 200": (reply) => reply.status === OK,
    "answered within 100 ms": (reply) => reply.status === OK && reply.timings.duration < ON_TIME_MS,
  };
  const predicts = isJson(url) ? hasClasses : /\/v2\/models\/.+\/infer$/.test(url) ? hasOutputs : null;
  if (predicts) {
    checks["has predictions"] = (reply) => reply.status === OK && didNotThrow(() => predicts(reply));
  }
  return checks;
}

function didNotThrow(question) {
  try {
    return question();
  } catch (_) {
    return false;
  }
}

function hasClasses(reply) {
  const document = JSON.parse(reply.body);
  const results = document.results || [document];
  return results.length > 0 && results.every(({ predictions }) => predictions.length > 0);
}

function hasOutputs(reply) {
  const length = Number(reply.headers[HEADER_LENGTH] || reply.body.byteLength);
  const head = String.fromCharCode.apply(null, new Uint8Array(reply.body, 0, length));
  const sizes = JSON.parse(head).outputs.map(({ data, parameters }) =>
    data ? (data.length ? 0 : NaN) : parameters.binary_data_size || NaN,
  );
  return sizes.length > 0 && sizes.reduce((sum, size) => sum + size, length) === reply.body.byteLength;
}

// Replies kept for verification after the load: a seeded share, and a few spread over the window. In a closed
// loop that is every user's first, and of the first users one in each slice; in an open one, one in so many.

function keep(reply, number, index) {
  const { share, seed, every, slices, from_ms: from, until_ms: until, bytes } = asked.keep;
  const at = Date.now() - exec.scenario.startTime;
  if (at < from || at > until || keptBytes > bytes) return;
  const slice = Math.floor((slices * (at - from)) / (until - from));
  const another = __VU <= slices && slice > keptSlice && (!kept.has(index) || kept.size === mine.length);
  const due = every ? number % every === 0 : another || kept.size === 0;
  if (!due && drawn(number, seed) >= share) return;
  keptSlice = due ? slice : keptSlice;
  kept.add(index);
  const body = encoding.b64encode(reply.body || "");
  keptBytes += body.length;
  const { idInInstance: vu, iterationInInstance: iter } = exec.vu;
  console.log(JSON.stringify({ vu, iter, status: reply.status, headers: reply.headers, body }));
}

function drawn(number, seed) {
  let mixed = Math.imul(number ^ seed, 0x9e3779b1);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return ((mixed ^ (mixed >>> 16)) >>> 0) / 4294967296;
}
