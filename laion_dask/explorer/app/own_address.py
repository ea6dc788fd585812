"""Refuses requests that address the server by another host name, and framing by other pages.

A site whose name is made to point to the loopback address (DNS rebinding) is of the page's origin
for the browser: Tornado accepts an ``Origin`` that equals ``Host``. Only ``Host`` tells them apart.
"""

from __future__ import annotations

import re
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import Application, ErrorHandler, OutputTransform

#: Any port: the near end of a tunnel (``ssh -L``) has its own.
_OWN = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.IGNORECASE)


def serve_own_address_only(application: Application) -> None:
    """Answer 403 to requests and WebSockets whose Host is not 127.0.0.1 or localhost.

    No page of another site can show those of the application in a frame.
    """
    refused = Rule(_OtherHost(), ErrorHandler, {"status_code": 403})
    application.default_router.rules.insert(0, refused)
    application.add_transform(_Unframed)


class _OtherHost(Matcher):
    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        hosts = request.headers.get_list("Host")
        is_own = len(hosts) == 1 and _OWN.fullmatch(hosts[0])
        return None if is_own else {}


class _Unframed(OutputTransform):
    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        headers["X-Frame-Options"] = "SAMEORIGIN"
        headers["Content-Security-Policy"] = "frame-ancestors 'self'"
        return status_code, headers, chunk
