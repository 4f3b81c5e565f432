"""The server answers on this machine alone, to who has the token; only its page may stop."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from run_folder import run_folder

from evonas.errors import InputError
from evonas.report.dashboard.server import DashboardServer
from evonas.runs.run_store import RunStore
from evonas.runs.stop_request import FILE

TOKEN = "a-token-of-tests-1"
STOP = json.dumps({"run": "run"})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DashboardServer]:
    run_folder(tmp_path / "run")
    with DashboardServer(tmp_path, 0, TOKEN) as started:
        yield started


def asked(
    server: DashboardServer, path: str, method: str = "GET", body: str = "", **headers: str
) -> tuple[int, dict[str, str], str]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, named)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.getheaders()), text


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def cookie(server: DashboardServer) -> dict[str, str]:
    return {"Cookie": f"evonas-{server.port}={TOKEN}"}


def test_the_address_gives_a_cookie_that_scripts_and_other_sites_do_not_have(
    server: DashboardServer,
) -> None:
    assert server.url == f"http://127.0.0.1:{server.port}/?token={TOKEN}"
    status, headers, text = asked(server, f"/?token={TOKEN}")
    assert status == 200
    assert "<title>Runs" in text
    assert headers["Set-Cookie"].startswith(f"evonas-{server.port}={TOKEN};")
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=Strict" in headers["Set-Cookie"]
    for path in ("/", "/dashboard.js", "/dashboard.css", "/plotly.js", "/api/runs"):
        assert asked(server, path, **cookie(server))[0] == 200, path


def test_nothing_may_be_loaded_from_elsewhere_or_sent_there(server: DashboardServer) -> None:
    _, headers, text = asked(server, "/", **bearer())
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "http" not in text.replace("http-equiv", "")
    script = asked(server, "/dashboard.js", **bearer())[2]
    assert "http" not in script


@pytest.mark.parametrize("path", ["/", "/api/runs", "/api/view?run=run", "/plotly.js", "/none"])
def test_without_the_token_there_is_a_page_that_says_what_to_do(
    server: DashboardServer, path: str
) -> None:
    for headers, status in (({}, 401), (bearer("another-token-of-tests"), 403)):
        found, _, text = asked(server, path, **headers)
        assert found == status
        assert "Open the whole address that <code>evonas dashboard</code> printed" in text
        assert TOKEN not in text
    assert asked(server, f"/?token={TOKEN}x")[0] == 403


def test_another_host_name_is_refused_even_with_the_token(server: DashboardServer) -> None:
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example", ""):
        status, _, text = asked(server, "/", Host=host, **bearer())
        assert status == 403
        assert f"http://127.0.0.1:{server.port}" in text
    for host in ("localhost:9999", "127.0.0.1"):  # as by way of ssh -L
        assert asked(server, "/", Host=host, **bearer())[0] == 200


def test_an_unknown_address_and_another_method(server: DashboardServer) -> None:
    assert asked(server, "/etc/passwd", **bearer())[0] == 404
    assert asked(server, "/../page.css", **bearer())[0] == 404
    assert asked(server, "/api/stop", **bearer())[0] == 405
    assert asked(server, "/api/stop", "POST", "x" * 20_000, **bearer())[0] == 413


def test_a_running_search_is_asked_to_stop_by_the_page_alone(
    server: DashboardServer, tmp_path: Path
) -> None:
    own = {"Origin": f"http://127.0.0.1:{server.port}", **cookie(server)}
    assert asked(server, "/api/stop", "POST", STOP, **own)[0] == 409  # nothing runs
    with RunStore(tmp_path / "run", resume=True):
        for origin in ("http://127.0.0.1:1", "null", "http://evil.example"):
            other = {**cookie(server), "Origin": origin}
            assert asked(server, "/api/stop", "POST", STOP, **other)[0] == 403
        assert asked(server, "/api/stop", "POST", STOP, **cookie(server))[0] == 403
        assert asked(server, "/api/stop", "POST", STOP)[0] == 401
        assert not (tmp_path / "run" / FILE).exists()
        for body in ("", "[]", '{"run": "../run"}', '{"run": 3}', "{"):
            status, _, text = asked(server, "/api/stop", "POST", body, **bearer())
            assert status in (400, 409)
            assert json.loads(text)["error"]
        assert asked(server, "/api/stop", "POST", STOP, **own)[0] == 200
        assert (tmp_path / "run" / FILE).exists()
        (row,) = json.loads(asked(server, "/api/runs", **bearer())[2])["runs"]
        assert row["state"] == "stopping"


def test_the_page_follows_a_journal(server: DashboardServer, tmp_path: Path) -> None:
    def row() -> Any:
        server.runs._read = float("-inf")
        for run in server.runs._runs.values():
            run._due = float("-inf")  # a slow first reading may ask for a rest
        return json.loads(asked(server, "/api/runs", **bearer())[2])["runs"][0]

    before = row()
    journal = tmp_path / "run/journal.jsonl"
    last = json.loads(journal.read_bytes().splitlines()[0])
    with journal.open("a") as stream:
        stream.write(json.dumps({**last, "generation": 70, "digest": "f" * 16}) + "\n")
    after = row()
    assert after["version"] > before["version"]
    assert int(after["done"].split()[0]) == int(before["done"].split()[0]) + 1


def test_a_folder_that_is_removed_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with DashboardServer(tmp_path / "runs", 0, TOKEN) as server:
        (tmp_path / "runs").rmdir()
        server.runs._read = float("-inf")
        status, _, text = asked(server, "/api/runs", **bearer())
        assert status == 503
        assert "there is no such folder" in json.loads(text)["error"]


def test_it_listens_on_this_machine_alone_and_ends(tmp_path: Path) -> None:
    with DashboardServer(tmp_path, 0) as server:
        assert server._socket.getsockname() == ("127.0.0.1", server.port)
        port = server.port
        assert len(server.url.partition("token=")[2]) >= 43
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with DashboardServer(tmp_path, 0) as other:
        assert other.url.partition("token=")[2] != server.url.partition("token=")[2]


def test_a_port_in_use_and_an_unfit_token_are_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            InputError, match=rf"--port {port}: in use: choose another, or --port 0"
        ):
            DashboardServer(tmp_path, port)
    for token in ("", "short", "x" * 300, "a token with spaces in it", "<script>alert(1)</script>"):
        with pytest.raises(InputError, match="--token: expected 16 to 200 letters"):
            DashboardServer(tmp_path, 0, token)
