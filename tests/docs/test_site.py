"""The site: pages that are generated are complete, and all of it builds without a warning."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from documents import ROOT
from pydantic import BaseModel

from evonas.core import registry
from evonas.core.experiment import Experiment

SITE = ROOT / "docs" / "site"


@pytest.fixture(scope="module")
def pages() -> Iterator[dict[str, ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SITE))
        yield {name: importlib.import_module(name) for name in ("settings", "verbs", "reference")}
    for name in ("settings", "verbs", "reference"):
        sys.modules.pop(name, None)


def keys(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every key of a model, told from pydantic's own description of it."""
    schema = model.model_json_schema()

    def walk(part: dict[str, object], prefix: str) -> Iterator[str]:
        for name, inner in part.get("properties", {}).items():  # type: ignore[attr-defined]
            yield f"{prefix}{name}"
            texts = re.findall(r"#/\$defs/(\w+)", str(inner))
            for text in texts:
                yield from walk(schema["$defs"][text], f"{prefix}{name}.") if text != "Part" else ()

    yield from walk(schema, before)


def test_every_setting_has_a_row_with_words(pages: dict[str, ModuleType]) -> None:
    text = pages["settings"].every_setting()
    rows = dict(re.findall(r"^\| `([\w.]+)` \| .* \| (.*) \|$", text, re.M))
    wanted = set(keys(Experiment))
    assert {"training.epochs", "prune.training.epochs", "baselines.network"} <= wanted
    assert wanted <= set(rows), wanted - set(rows)
    silent = [key for key in wanted if not rows[key] and "section" not in text.split(f"`{key}`")[1]]
    assert not silent, "say in the docstring what they are"


def test_defaults_are_those_of_the_place(pages: dict[str, ModuleType]) -> None:
    """A section may stand twice with other defaults: a retraining is longer than a search."""
    text = pages["settings"].every_setting()
    for key, value in (("training", 5), ("retraining", 30), ("prune.training", 10)):
        assert f"| `{key}.epochs` | whole number | `{value}` |" in text


def test_every_option_of_every_part_has_words(pages: dict[str, ModuleType]) -> None:
    text = pages["settings"].every_setting()
    for kind in ("optimizer", "backbone", "data", "task"):
        for name in registry.names(kind):
            section = text.split(f"### {kind}: {name}\n")[1].split("\n##")[0]
            for option, default in pages["settings"].part_options(kind, name).items():
                (row,) = re.findall(rf"^\| `{kind}\.{option}` \| (.*) \| (.*) \|$", section, re.M)
                assert row[1], f"{kind} {name}: say in the docstring what {option} is"
                assert (row[0] == "required") == (default is ...)
    assert "| `optimizer.sigma` | `0.3` |" in text
    assert "optimizer.budget" not in text


def test_every_verb_and_option_is_on_its_page(pages: dict[str, ModuleType]) -> None:
    module = pages["verbs"]
    text = module.command_line()
    verbs = dict(module.verbs())
    assert {"search", "data check", "backbones show"} <= set(verbs)
    for path, verb in verbs.items():
        section = text.split(f"## evonas {path}\n")[1].split("\n## ")[0]
        for parameter in verb.params:
            if getattr(parameter, "hidden", False):
                assert f"`{parameter.opts[0]}" not in section
                continue
            words = (parameter.metavar or parameter.name).upper()
            typed = parameter.opts[0] if parameter.opts[0].startswith("-") else words
            assert typed in section, f"{path}: {typed}"
            assert " ".join((parameter.help or "").split()).replace("|", "\\|") in section


def test_the_reference_shows_what_is_public(pages: dict[str, ModuleType]) -> None:
    """Every part of the registry, and modules that are there."""
    shown = {m for _, _, modules in pages["reference"].PAGES.values() for m in modules}
    for kind, entry in registry.KINDS.items():
        names = {*registry.modules(kind), entry.base_module}
        assert names <= shown, names - shown
    for name in shown:
        assert inspect.getdoc(importlib.import_module(name)), name


def test_every_page_is_in_the_navigation() -> None:
    content = (SITE / "mkdocs.yml").read_text("utf-8")
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    listed = set(re.findall(r": ([\w/-]+\.md)$", content, re.M))
    # Decisions are many: their index, which is in the navigation, lists them.
    listed |= {page for page in pages if re.match(r"decisions/\d", page)}
    assert pages <= listed, pages - listed
    assert "decisions/README.md" in listed
    assert yaml.safe_load(content)["theme"]["font"] is False


@pytest.mark.slow
def test_it_builds_strictly_and_asks_the_web_for_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="make docs installs it")
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("material")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"),
            *("-f", str(SITE / "mkdocs.yml"), "-d", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in _html(tmp_path)}
    assert {"index.html", "TUTORIAL.html", "reference/settings.html"} <= set(pages)
    assert "SearchSpace" in pages["reference/space.html"]
    for name, text in pages.items():
        fetched = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"', text)
        fetched += re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*>', text)
        assert not [one for one in fetched if "//" in one], name
    assert (tmp_path / "search" / "search_index.json").is_file()


def _html(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.html"))
