"""What guards a contribution calls the same tools: make, hooks, workflow, templates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import ROOT

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
#: Kinds of elements of GitHub's forms, and what each has to have.
ELEMENTS = {
    "markdown": {"value"},
    "input": {"label"},
    "textarea": {"label"},
    "dropdown": {"label", "options"},
    "checkboxes": {"label", "options"},
}


def read(path: str | Path) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def recipe(target: str) -> str:
    """Return the commands of a target of the Makefile."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)
    assert found, target
    return found[1].replace("$(BIN)", ".venv/bin")


def test_hooks_call_what_make_check_calls() -> None:
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local", "nothing is fetched"
    assert "lint" in recipe("check")
    checks = recipe("lint")
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].removesuffix(" --fix") in checks, hook["id"]
    called = set(re.findall(r"\.venv/bin/[\w-]+", checks))
    assert called == {hook["entry"].split()[0] for hook in repository["hooks"]}


def test_hooks_look_at_the_folders_that_make_check_looks_at() -> None:
    folders = re.search(r"ruff check (.*)", recipe("lint"))
    assert folders
    for hook in read(".pre-commit-config.yaml")["repos"][0]["hooks"]:
        if "ruff" in hook["entry"]:
            assert hook["files"] == f"^({'|'.join(folders[1].split())})/"


def test_the_workflow_runs_make_check_on_the_oldest_python() -> None:
    job = read(".github/workflows/check.yml")["jobs"]["check"]
    steps = [step["run"] for step in job["steps"] if "run" in step]
    assert steps[-1] == "make check"
    assert job["steps"][-1]["env"]["EVONAS_BROWSER"] == "required"
    oldest = re.search(r"^python_requires = >=(\S+)$", (ROOT / "setup.cfg").read_text(), re.M)
    assert oldest
    assert job["container"]["image"].startswith(f"python:{oldest[1]}-")
    packages = re.search(r"apt-get install -y -qq (.*?) >", (ROOT / ".ci/run").read_text())
    assert packages
    assert packages[1] in "\n".join(steps)


def test_a_change_is_checked_by_every_test_and_make_test_leaves_out_what_is_slow() -> None:
    together = ' test-all smoke quality SELECT="not (slow and (faults or fuzz))"'
    assert together in recipe("check")
    assert recipe("test-all").strip() == '$(PYTEST) $(if $(SELECT),-m "$(SELECT)")'
    assert recipe("test").strip() == '$(PYTEST) -m "not slow and not browser"'


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one(path: Path) -> None:
    form = read(path)
    if path.stem == "config":
        assert set(form) == {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= set(form)
    ids = [element["id"] for element in form["body"] if element["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    for element in form["body"]:
        assert set(element) <= {"type", "id", "attributes", "validations"}
        assert ELEMENTS[element["type"]] <= set(element["attributes"])
    assert any(element.get("validations", {}).get("required") for element in form["body"])


def test_there_is_a_form_of_each_kind_and_a_template() -> None:
    assert {path.stem for path in FORMS} == {"bug", "feature", "question", "config"}
    assert "make check" in (ROOT / ".github/PULL_REQUEST_TEMPLATE.md").read_text("utf-8")


def test_make_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.M)
    assert phony
    listed = re.findall(r"^([a-z-]+):.*## \S", MAKEFILE, re.M)
    assert sorted(listed) == sorted(phony[1].split())
