// k6: one virtual user per request in flight; URL and BODY_FILE come from the environment.
import http from "k6/http";

const body = open(__ENV.BODY_FILE, "b");
const params = { headers: { "Content-Type": "application/octet-stream" } };

export const options = { discardResponseBodies: true };

export default function () {
  http.post(__ENV.URL, body, params);
}
