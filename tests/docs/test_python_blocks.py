"""The Python of the page on Python runs as it stands there; that of other pages runs with their
commands (test_commands.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import documents
import pytest

import evonas

PAGE = "docs/howto/python.md"


def test_the_python_of_the_page_runs(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    load = evonas.Experiment.load.__func__  # type: ignore[attr-defined]

    def small(cls: type, source: Any, /, **changes: Any) -> Any:
        if "data" in changes:
            changes["data"] = {"identities": 12, "images_per_identity": 4}
        features = {"cache": str(cache), "jitters": 0}
        return load(cls, source, **changes, features=features, standard_baselines=False)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evonas.Experiment, "load", classmethod(small))
    monkeypatch.setattr("evonas.estimation.cost.latency.ROUNDS", 1)
    names: dict[str, Any] = {"__name__": "__main__"}
    for content in documents.python(PAGE):
        exec(compile(content, PAGE, "exec"), names)
    assert names["best"].settings["width"] == 32
    assert names["other"].trials[0].status == "earlier"
    assert len(evonas.load_run("runs/stopped").trials) < 8, "the callback ended it"
    assert (tmp_path / "head.onnx").is_file()


def test_the_readme_minimises_in_five_lines() -> None:
    (content,) = documents.python("README.md")
    assert "minimize" in content
    assert len(content.strip().splitlines()) <= 5
