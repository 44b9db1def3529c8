"""The requests that the page sends."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from rgbir_jax.browse.guard import Guard
from rgbir_jax.browse.uploads import LARGEST, read_upload
from rgbir_jax.browse.viewer import Viewer
from rgbir_jax.errors import UserError

STATIC = Path(__file__).parent / "static"
QUESTION = 10_000  # bytes of a question at most


def application(viewer: Viewer) -> ASGIApp:
    """Makes the server's application.

    GET / and its files: the page. GET /images/NUMBER: a gallery image as JPEG. GET /api/about; POST /api/uploads, whose
    body is the image's file; POST /api/search, /api/maps and /api/swap, whose bodies are JSON, see `Viewer`. An error
    is JSON with the sentence `error`.
    """
    turns = Turns()

    async def about(request: Request) -> Response:
        del request
        return JSONResponse(viewer.about())

    async def upload(request: Request) -> Response:
        content = await _body(request, LARGEST)
        image = await turns.call(
            read_upload, content, viewer.shown_size, viewer.image_size
        )  # one large image at a time
        return JSONResponse(viewer.add(image))

    def image(request: Request) -> Response:  # Starlette calls it in a thread
        try:
            return Response(viewer.picture(request.path_params["number"]), media_type="image/jpeg")
        except UserError as error:
            raise HTTPException(404, str(error)) from error

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async def compile_all() -> None:
            for call in viewer.first_calls():
                await turns.call(call)

        del app
        compiling = asyncio.create_task(compile_all())
        yield
        compiling.cancel()

    routes = [
        Route("/images/{number:int}", image),
        Route("/api/about", about),
        Route("/api/uploads", upload, methods=["POST"]),
        Route("/api/search", turns.answering(viewer.search), methods=["POST"]),
        Route("/api/maps", turns.answering(viewer.maps), methods=["POST"]),
        Route("/api/swap", turns.answering(viewer.swap), methods=["POST"]),
        Mount("/", StaticFiles(directory=STATIC, html=True)),
    ]
    handlers = {UserError: _refused, HTTPException: _refused, ClientDisconnect: _unheard, Exception: _failed}
    return Guard(Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan))


class Turns:
    """Calls the run, or what needs much memory, in a thread, one at a time. Other requests are answered meanwhile."""

    def __init__(self):
        self._turn = asyncio.Lock()

    async def call(self, function: Callable, *arguments: Any) -> Any:
        """Calls a function as soon as no other one runs."""
        async with self._turn:
            return await run_in_threadpool(function, *arguments)

    def answering(self, function: Callable[[dict[str, Any]], Any]) -> Callable:
        """Returns the endpoint that answers a question. It is dropped if the page does not wait for it any more."""

        async def endpoint(request: Request) -> Response:
            question = _question(await _body(request, QUESTION))
            async with self._turn:
                if await request.is_disconnected():
                    return Response(status_code=204)
                return JSONResponse(await run_in_threadpool(function, question))

        return endpoint


async def _body(request: Request, largest: int) -> bytes:
    """Reads a request's body, and no more than `largest` bytes of it."""
    content = bytearray()
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) <= largest:
        async for part in request.stream():
            content += part
            if len(content) > largest:
                break
        else:
            return bytes(content)
    raise HTTPException(413, f"this is larger than {largest / 1e6:g} MB; choose a smaller image.")


def _question(content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise UserError("the question is no JSON object.")
    return values


async def _refused(request: Request, error: Exception) -> Response:
    del request
    if isinstance(error, UserError):
        return JSONResponse({"error": str(error)}, 400)
    assert isinstance(error, HTTPException)
    sentence = error.detail if error.detail.endswith(".") else f"{error.detail.lower()}."  # of Starlette: "Not Found"
    return JSONResponse({"error": sentence}, error.status_code, error.headers)


async def _unheard(request: Request, error: Exception) -> Response:
    del request, error  # the page was closed while it sent something
    return Response(status_code=204)


async def _failed(request: Request, error: Exception) -> Response:
    del request, error  # the server prints it
    return JSONResponse({"error": "the program failed; its terminal has the details."}, 500)
