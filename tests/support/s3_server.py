"""An S3 server in this process: moto's, on a free port."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from unittest import mock
from uuid import uuid4

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@cache
def endpoint() -> str:
    """The address of the server, which lasts as long as the process.

    A file system that has been connected keeps its address.
    """
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@contextmanager
def s3_bucket() -> Iterator[str]:
    """The address of an empty bucket, for this process and its children."""
    import fsspec

    address = {"AWS_ENDPOINT_URL": endpoint(), **ENVIRONMENT}
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # one may have no credentials
    with mock.patch.dict(os.environ, address):
        fs = fsspec.filesystem("s3", skip_instance_cache=True)
        bucket = f"bucket-{uuid4().hex[:8]}"
        fs.mkdir(bucket)
        try:
            yield f"s3://{bucket}"
        finally:
            fsspec.get_filesystem_class("s3").clear_instance_cache()
