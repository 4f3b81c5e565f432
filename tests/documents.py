"""The commands that a person reads in the README and the documentation."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: What is read for commands; those of experiments/README.md take hours and are only parsed.
_PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *_PAGES]
RESULTS = "experiments/README.md"
#: Languages of blocks that hold commands; others (text, yaml, python) hold none.
_SHELL = ("", "bash", "sh", "console")
_PROGRAMS = ("evonas", "make", "python", "pip", "export")
_FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.M | re.S)
_TITLE = re.compile(r'title="([^"]+)"')
_INLINE = re.compile(r"(?<!`)`(evonas [^`]+)`(?!`)")
_SETTING = re.compile(r"[A-Z_]+=\S*")


@dataclass(frozen=True)
class Command:
    """A command as it stands in a document.

    Attributes:
        document: its path in the repository.
        line: where the command begins, from 1.
        words: of the command, without settings of the environment and comments.
        environment: ``NAME=value`` in front of the command, or what ``export`` sets.
    """

    document: str
    line: int
    words: tuple[str, ...]
    environment: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The words in one line, without quotes."""
        return " ".join(self.words)

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: {' '.join([*self.environment, self.text])}"


def blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line of the first line, language, content) of every fenced block."""
    for found in _FENCE.finditer(text):
        yield text.count("\n", 0, found.start(3)) + 1, found[1], found[3]


def python(document: str) -> list[str]:
    """Return the blocks of Python that a document shows to be run as they stand there.

    Files (with a ``title``) and blocks that are marked ``no-run`` are none of them.
    """
    text = (ROOT / document).read_text("utf-8")
    return [f[3] for f in _FENCE.finditer(text) if f[1] == "python" and not f[2].strip()]


def files(document: str) -> dict[str, str]:
    """Return name -> content of the files that a document shows, with a ``title`` each."""
    text = (ROOT / document).read_text("utf-8")
    titles = ((_TITLE.search(found[2]), found[3]) for found in _FENCE.finditer(text))
    return {title[1]: content for title, content in titles if title}


def commands(document: str, text: str | None = None) -> list[Command]:
    """Return the commands of a document, in their order."""
    text = (ROOT / document).read_text("utf-8") if text is None else text
    found = []
    for first, language, content in blocks(text):
        if language in _SHELL:
            found += [
                command
                for number, line in _joined(content, first)
                if (command := _command(document, number, line))
            ]
    return found


def inline(document: str) -> list[Command]:
    """Return the commands within sentences: they may be parts, with ``...`` and capitals."""
    text = (ROOT / document).read_text("utf-8")
    plain = _FENCE.sub(lambda found: re.sub(r"[^\n]", "", found[0]), text)
    return [
        Command(document, plain.count("\n", 0, found.start()) + 1, tuple(shlex.split(found[1])))
        for found in _INLINE.finditer(plain)
    ]


def _joined(content: str, first: int) -> Iterator[tuple[int, str]]:
    """Yield (number, line) with lines that end in a backslash put together."""
    start, line = first, ""
    for number, part in enumerate(content.splitlines(), start=first):
        start = start if line else number
        line += part.removesuffix("\\") if part.endswith("\\") else part
        if not part.endswith("\\"):
            yield start, line
            line = ""


def _command(document: str, number: int, line: str) -> Command | None:
    words = line.strip().removeprefix("$ ").split()
    while words and _SETTING.fullmatch(words[0]):
        words = words[1:]
    if not words or words[0] not in _PROGRAMS:
        return None
    split = shlex.split(line.strip().removeprefix("$ "), comments=True)
    environment = []
    while _SETTING.fullmatch(split[0]):
        environment.append(split.pop(0))
    if split[0] == "export":
        return Command(document, number, ("export",), tuple(split[1:]))
    return Command(document, number, tuple(split), tuple(environment))
