"""The notebook's cells run, and what it shows is stored without a trace of the machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from documents import ROOT

PATH = ROOT / "experiments" / "notebooks" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(PATH.read_text("utf-8"))
    return content


def code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_every_cell_runs(
    notebook: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = []
    monkeypatch.setattr(plt, "show", lambda: (shown.append(plt.gcf()), plt.close("all")))
    names: dict[str, Any] = {"__name__": "__main__"}
    with plt.rc_context():
        for number, cell in enumerate(code(notebook), start=1):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert len(shown) == 3
    assert len(names["trials"]) == 8
    assert names["best"] == names["result"].best
    assert names["best"].error < 30.0
    assert (tmp_path / "runs/notebook/retrained/winner.safetensors").is_file()
    assert "8 networks trained" in capsys.readouterr().out


def test_it_uses_the_public_names_alone(notebook: dict[str, Any]) -> None:
    text = "\n".join("".join(cell["source"]) for cell in code(notebook))
    assert "import evonas\n" in text
    assert not re.search(r"from evonas|import evonas\.", text)


def test_what_cells_show_is_stored(notebook: dict[str, Any]) -> None:
    cells = code(notebook)
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    kinds = [kind for cell in cells for out in cell["outputs"] for kind in out.get("data", {})]
    assert kinds.count("image/png") == 3
    assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]
    assert all(out.get("name") != "stderr" for cell in cells for out in cell["outputs"])


def test_it_says_nothing_of_the_machine(notebook: dict[str, Any]) -> None:
    text = PATH.read_text("utf-8")
    assert len(text) < 500_000
    assert not re.search(r"/(root|tmp|work|home|usr|Users)\b", text)
    assert not re.search(r"\b20\d\d-\d\d-\d\d|\b\d\d:\d\d:\d\d\b", text)
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert [cell["metadata"] for cell in notebook["cells"]] == [{}] * len(notebook["cells"])
