"""evonas dashboard: what is wrong is one line, and Ctrl-C is its ordinary end."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
from command_line import Cli, said
from run_folder import run_folder


def test_mistakes_are_one_line(evonas: Cli, tmp_path: Path) -> None:
    assert "there is no such folder" in said(evonas("dashboard", tmp_path / "none"))
    assert "runs: there is no such folder" in said(evonas("dashboard"))
    (tmp_path / "file").touch()
    assert "there is no such folder" in said(evonas("dashboard", tmp_path / "file"))
    assert "--token: expected" in said(evonas("dashboard", tmp_path, "--token", "short"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = said(evonas("dashboard", tmp_path, "--port", port))
    assert line == f"--port {port}: in use: choose another, or --port 0 for any that is free"


@pytest.mark.parametrize("token", ["", "the-token-of-a-test"])
def test_it_prints_its_address_and_ends_by_ctrl_c(tmp_path: Path, token: str) -> None:
    run_folder(tmp_path / "runs/one")
    words = [sys.executable, "-m", "evonas", "dashboard", "runs", "--port", "0"]
    words += ["--token", token] if token else []
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As from a terminal: jobs that a script starts in the background ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert process.stdout.readline() == "Ctrl-C ends it; searches go on.\n"
    found = re.fullmatch(r"dashboard of runs: http://127\.0\.0\.1:(\d+)(/\?token=(\S+))\n", line)
    assert found, line
    assert found[3] == token or (not token and len(found[3]) >= 43)
    connection = HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
    connection.request("GET", found[2])
    assert connection.getresponse().status == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
