"""A test of one's own client against a stack that the fixture brings up."""

import httpx

from pytest_servebench import Endpoint


def test_my_client_finds_the_model_ready(fastapi_server: Endpoint) -> None:
    """The server is up, with its model loaded, before the test begins."""
    url = f"http://{fastapi_server.authority()}/v2/health/ready"
    assert httpx.get(url).is_success
