"""Which requests are answered: those of this machine's own page. All answers forbid what the page does not need.

A page of another site can send requests to this machine as well, directly or, after its name was given the address
127.0.0.1 (DNS rebinding), as if it were this server. Its requests name another host or another origin, and are refused.
The port is not compared with the server's own, because it may be forwarded (ssh -L).
"""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI application before another one: refuses requests of other sites and adds the headers."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        sentence = refusal(Headers(scope=scope), scope["path"])
        app = JSONResponse({"error": sentence}, 403) if sentence else self.app
        await app(scope, receive, send_with_headers)


def refusal(headers: Headers, path: str) -> str:
    """Says why a request is refused; empty if it is answered."""
    host = headers.get("host", "")
    if not HOST.fullmatch(host):
        return "this server answers only as 127.0.0.1 or localhost."
    if headers.get("origin", f"http://{host}") != f"http://{host}":
        return "this server answers only its own page."
    is_link = path == "/" and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not is_link:
        return "this server answers only its own page."
    return ""
