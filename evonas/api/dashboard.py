"""``evonas.serve_dashboard``: a local page over all runs of a folder, which follows them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from evonas.report.dashboard.server import PORT, DashboardServer


def serve_dashboard(
    runs: str | Path,
    *,
    port: int = PORT,
    token: str | None = None,
    on_start: Callable[[str], None] = print,
) -> None:
    """Serve a page over all runs of a folder on 127.0.0.1, until Ctrl-C.

    The page asks for the token that stands in its address. It reads the files of the runs, and
    writes none but the request to stop a search.

    Args:
        runs: holds the run directories; searches may be running, and others may begin.
        port: 0: any that is free.
        token: 16 letters, digits, ``-`` and ``_``, or more; None: a new random one.
        on_start: called with the address of the page.

    Raises:
        InputError: there is no such folder, the port is in use, or the token is unfit.

    Examples:
        >>> evonas.serve_dashboard("runs")
        http://127.0.0.1:8270/?token=...
    """
    with DashboardServer(Path(runs), port, token) as server, suppress(KeyboardInterrupt):
        on_start(server.url)
        wait()


def wait() -> None:
    """Wait until Ctrl-C.

    Raises:
        KeyboardInterrupt: it was pressed.
    """
    threading.Event().wait()
