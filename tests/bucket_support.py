"""A bucket for tests: S3 as moto's server speaks it, on this machine."""

import os
import uuid
from collections.abc import Iterator

import pytest
import requests

# What is not signed may not overwrite; who signed, and how, moto does not look at.
SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=x"
}
USER, SECRET = "AKIATESTER00000000AA", "s3cretBeeble/brox"


class Bucket:
    """An empty bucket, and what the tests do in it without the code they test."""

    def __init__(self, server: str) -> None:
        self.server, self.name = server, f"songs-{uuid.uuid4().hex[:12]}"
        self.address = f"s3://{self.name}"
        self._url = f"{server}/{self.name}"
        requests.put(self._url, headers=SIGNED).raise_for_status()

    def put(self, key: str, content: bytes) -> str:
        requests.put(f"{self._url}/{key}", data=content, headers=SIGNED).raise_for_status()
        return f"{self.address}/{key}"

    def get(self, key: str) -> bytes:
        answer = requests.get(f"{self._url}/{key}", headers=SIGNED)
        answer.raise_for_status()
        return answer.content

    def delete(self, key: str) -> None:
        requests.delete(f"{self._url}/{key}", headers=SIGNED).raise_for_status()

    def keys(self) -> list[str]:
        text = requests.get(f"{self._url}?list-type=2&max-keys=1000", headers=SIGNED).text
        return sorted(part.partition("</Key>")[0] for part in text.split("<Key>")[1:])


@pytest.fixture(scope="session")
def _s3() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(_s3, monkeypatch) -> Bucket:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", _s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", USER)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return Bucket(_s3)
