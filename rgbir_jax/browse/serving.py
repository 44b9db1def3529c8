"""The socket and the server. It listens on the loopback address only."""

import socket
import webbrowser
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from rgbir_jax.errors import UserError

ADDRESS = "127.0.0.1"


def reserve(port: int) -> socket.socket:
    """Takes a port; 0: any that is free.

    Raises:
        UserError: if it cannot be taken.
    """
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not hold it
    try:
        taken.bind((ADDRESS, port))
        taken.listen()
    except (OSError, OverflowError) as error:
        taken.close()
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"port {port} cannot be used ({reason}); choose another --port, or leave it out.") from error
    return taken


def server(app: ASGIApp) -> uvicorn.Server:
    """Returns a server, which is silent but for errors."""
    # log_config: uvicorn's own would close all other handlers of the process.
    config = uvicorn.Config(
        app, log_config=None, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2
    )
    return uvicorn.Server(config)


def serve(app: ASGIApp, taken: socket.socket, opens: bool) -> None:
    """Serves until Ctrl-C.

    Args:
        app: the application.
        taken: the socket of `reserve`.
        opens: whether to open the page in the browser.
    """
    address = f"http://{ADDRESS}:{taken.getsockname()[1]}/"
    print(f"{address} shows the page, on this machine only. Ctrl-C ends it.", flush=True)
    if opens:
        webbrowser.open(address)
    with suppress(KeyboardInterrupt):
        server(app).run(sockets=[taken])
