"""Server of the dashboard: one page and its data on 127.0.0.1, guarded by a token."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from evonas.errors import InputError
from evonas.report.dashboard.runs_folder import RunsFolder

PORT = 8270
_TOKEN = re.compile(r"[\w-]{16,200}", re.ASCII)
_HOSTS = ("127.0.0.1", "localhost")
_MOST_BYTES = 10_000  # of a request
_HEADERS = {
    # Plotly sets styles; nothing is loaded from elsewhere, and nothing is sent there.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_REFUSED = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>evonas dashboard</title>
<link rel="icon" href="data:,"></head>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DashboardServer:
    """Serves the dashboard of a folder in a thread, from ``with`` to its end.

    Args:
        folder: holds the run directories.
        port: on 127.0.0.1; 0: any that is free.
        token: that a page has to give; None: a new random one.

    Attributes:
        runs: what is shown.
        url: address of the page, with the token.

    Raises:
        InputError: there is no such folder, the port is in use, or the token is unfit.
    """

    def __init__(self, folder: Path, port: int = PORT, token: str | None = None) -> None:
        if token is not None and not _TOKEN.fullmatch(token):
            raise InputError(
                "--token: expected 16 to 200 letters, digits, - and _, got something else: choose "
                "another, or leave it out for a random one"
            )
        self.runs = RunsFolder(folder)
        self._token = token or secrets.token_urlsafe(32)
        self._socket = _listening(port)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/?token={self._token}"
        self._cookie = f"evonas-{self.port}"  # cookies of one host are shared by all its ports
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="evonas dashboard", daemon=True)
        self._ended = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._run())
        finally:
            self._loop.close()

    async def _run(self) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=_MOST_BYTES)
        app.add_routes(
            [
                web.get("/", _file("page.html", "text/html")),
                web.get("/dashboard.js", _file("dashboard.js", "text/javascript")),
                web.get("/dashboard.css", _style),
                web.get("/plotly.js", _plotly),
                web.get("/api/runs", self._overview),
                web.get("/api/view", self._view),
                web.post("/api/stop", self._stop),
            ]
        )
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        await web.SockSite(runner, self._socket, shutdown_timeout=1.0).start()
        await self._ended.wait()
        await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refuse requests of other hosts, pages and people; set the headers of all answers."""
        refused = self._refusal(request)
        try:
            answer = refused or await handler(request)
        except web.HTTPException as error:  # an unknown address, or too large a request
            answer = _page(error.status, error.reason, "The dashboard is at the address /.")
        answer.headers.update(_HEADERS)
        if refused is None and "token" in request.query:
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict")
        return answer

    def _refusal(self, request: web.Request) -> web.Response | None:
        host = request.host.rpartition(":")[0] or request.host
        if host not in _HOSTS:  # a name that somebody else's server gave to 127.0.0.1
            text = f"This dashboard answers at http://127.0.0.1:{self.port} alone."
            return _page(403, "Unknown host", text)
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        given = [request.query.get("token", ""), bearer, request.cookies.get(self._cookie, "")]
        known = [secrets.compare_digest(one.encode(), self._token.encode()) for one in given]
        if not any(known):
            wrong = any(given)
            title = "The token is not that of this dashboard" if wrong else "A token is missing"
            text = (
                "Open the whole address that <code>evonas dashboard</code> printed in its "
                "terminal: it ends in <code>?token=...</code>."
            )
            return _page(403 if wrong else 401, title, text)
        # Pages of other ports of this machine are given the cookie too.
        origin = request.headers.get("Origin")
        if request.method == "POST" and not known[1] and origin != f"http://{request.host}":
            return _page(403, "Unknown page", "Only the dashboard's own page may do this.")
        return None

    async def _overview(self, request: web.Request) -> web.Response:
        try:
            return _json(await asyncio.to_thread(self.runs.overview))
        except InputError as error:
            return _json({"error": str(error.args[0])}, 503)

    async def _view(self, request: web.Request) -> web.Response:
        keys = request.query.getall("run", [])
        return _json(await asyncio.to_thread(self.runs.view, keys))

    async def _stop(self, request: web.Request) -> web.Response:
        try:
            key = (await request.json())["run"]
        except (ValueError, TypeError, KeyError):
            return _json({"error": 'expected {"run": KEY}'}, 400)
        try:
            await asyncio.to_thread(self.runs.stop, str(key))
        except InputError as error:
            return _json({"error": str(error.args[0])}, 409)
        return _json({"stopping": key})


def _listening(port: int) -> socket.socket:
    """Return a socket that listens on 127.0.0.1.

    Raises:
        InputError: the port is in use, or not to be had.
    """
    try:
        return socket.create_server(("127.0.0.1", port))
    except OverflowError as error:
        raise InputError(f"--port {port}: expected 0 to 65535") from error
    except OSError as error:
        reason = "in use" if error.errno == errno.EADDRINUSE else f"no port ({error.strerror})"
        raise InputError(
            f"--port {port}: {reason}: choose another, or --port 0 for any that is free"
        ) from error


def _read(name: str, package: str = "evonas.report.dashboard") -> str:
    return resources.files(package).joinpath(name).read_text("utf-8")


def _file(name: str, kind: str) -> _Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=_read(name), content_type=kind)

    return answer


async def _style(request: web.Request) -> web.Response:
    """Return the style of the report, and what the dashboard adds."""
    text = _read("page.css", "evonas.report.page") + _read("dashboard.css")
    return web.Response(text=text, content_type="text/css")


async def _plotly(request: web.Request) -> web.Response:
    from plotly.offline import get_plotlyjs

    return web.Response(text=get_plotlyjs(), content_type="text/javascript")


def _page(status: int, title: str, text: str) -> web.Response:
    content = _REFUSED.format(title=title, text=text)
    return web.Response(status=status, text=content, content_type="text/html")


def _json(content: Any, status: int = 200) -> web.Response:
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return web.Response(status=status, text=text, content_type="application/json")
