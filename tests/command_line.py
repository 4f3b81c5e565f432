"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable

#: Runs the command line: words -> (exit status, stdout, stderr).
Cli = Callable[..., tuple[int, str, str]]


def said(result: tuple[int, str, str]) -> str:
    """The one line of a refused command."""
    code, out, err = result
    assert code == 2, (code, out, err)
    assert err.startswith("evonas: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    assert "Traceback" not in out + err
    return err.removeprefix("evonas: ").rstrip("\n")
