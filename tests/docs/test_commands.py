"""Every command of the README and the documentation is parsed, and run as far as a test can."""

from __future__ import annotations

import re
from pathlib import Path

import documents
import pytest
import typer
from document_runner import Runner
from documented_files import write_all
from documented_parts import installed
from documents import DOCUMENTS, RESULTS, ROOT, Command

from evonas.cli.app import app
from evonas.core import experiment as config
from evonas.errors import InputError

CLUSTER = "tests/conformance/test_cluster.py"

#: Commands that no test runs, as they stand in the documents, and why.
NOT_RUN = {
    f"evonas search quickstart --address auto{workers}": f"needs machines: {CLUSTER}"
    for workers in ("", " --workers 16")
}

COMMANDS = [c for name in [*DOCUMENTS, RESULTS] for c in documents.commands(name)]
OF_EVONAS = [c for c in COMMANDS if c.words[0] == "evonas"]
WITHIN = [c for name in [*DOCUMENTS, RESULTS] for c in documents.inline(name)]
RUN = [name for name in DOCUMENTS if documents.commands(name)]


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


def refusal(command: Command) -> str:
    """Return what the command line has against the words; nothing if they fit."""
    group, words = typer.main.get_command(app), list(command.words[1:])
    try:
        with group.make_context("evonas", words) as context:
            while hasattr(group, "commands"):
                name, group, words = group.resolve_command(context, words)
                context = group.make_context(name, list(words), parent=context)
    except Exception as error:
        # An exit is what --help does; click's own exceptions have no public home in typer.
        return "" if type(error).__name__ == "Exit" else f"{command}: {error}"
    return ""


def test_every_command_fits_the_command_line() -> None:
    assert len(OF_EVONAS) > 50
    assert not [said for command in OF_EVONAS if (said := refusal(command))]


def test_a_command_in_a_sentence_fits_as_far_as_it_goes() -> None:
    for command in WITHIN:
        said = refusal(command)
        assert not said or "Missing" in said or "NoArgsIsHelp" in said, said


def test_a_wrong_command_would_be_seen() -> None:
    text = """
```
evonas serach --budget 3
evonas search --bugdet 3      # a comment
evonas search \\
    --budget many
$ evonas test
```
```yaml
evonas: none
```
"""
    found = documents.commands("made up", text)
    assert [command.line for command in found] == [3, 4, 5, 7]
    said = [refusal(command) for command in found]
    parts = (
        "No such command 'serach'",
        "No such option: --bugdet",
        "valid integer",
        "Missing parameter",
    )
    for words, part in zip(said, parts, strict=True):
        assert part in words


def test_the_overrides_of_a_search_are_settings() -> None:
    """Also where nothing is run: an unknown key is refused, with the nearest."""
    for command in [*OF_EVONAS, *WITHIN]:
        words = command.words[2:]
        if command.words[1] not in ("search", "compare", "probe", "pipeline", "validate"):
            continue
        named = next((w for w in words if "=" not in w and not w.startswith("-")), "")
        known = named in ("quickstart", "pointing04") or (ROOT / named).is_file()
        changes = [w for w in words if re.fullmatch(r"[a-z][\w.]*=[^@].*", w)]
        if not changes:
            continue
        try:
            config.load(named if named and known else "quickstart", changes)
        except InputError as error:
            raise AssertionError(f"{command}: {error}") from error


@pytest.mark.slow
@pytest.mark.parametrize("document", RUN)
def test_the_commands_of_a_document_run_in_their_order(
    document: str, tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "notes"))
    write_all(tmp_path, (ROOT / document).read_text("utf-8"))
    runner = Runner(tmp_path, shared_cache)
    wrong = {}
    with installed(tmp_path, documents.files(document)):
        for command in documents.commands(document):
            if command.text in NOT_RUN:
                continue
            if said := runner.run(command):
                wrong[str(command)] = said
        names: dict[str, object] = {"__name__": "__main__"}
        for content in documents.python(document):
            if said := runner.python(content, names):
                wrong[f"{document}, {content.splitlines()[0]}"] = said
    assert not wrong, "\n\n".join(f"{command}\n{said[-1500:]}" for command, said in wrong.items())


def test_what_is_not_run_stands_in_a_document() -> None:
    assert set(NOT_RUN) <= {command.text for command in COMMANDS}


def test_scripts_and_extras_that_are_named_are_there() -> None:
    for command in COMMANDS:
        if command.words[0] == "python":
            shown = documents.files(command.document)
            before = [one.words for one in COMMANDS if one.document == command.document]
            made = command.words[1].endswith("_example.py") and any(
                "--example" in w for w in before
            )
            there = made or command.words[1] in shown or (ROOT / command.words[1]).is_file()
            assert there, command
        if command.words[0] == "make":
            assert f"\n{command.words[1]}:" in (ROOT / "Makefile").read_text("utf-8"), command
