"""What the parts of the throughput benchmark share: options, figures, sections of a file."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from evonas.core.experiment import Experiment
from evonas.report.tables import Table, markdown

Figure = TypeVar("Figure")
_PACKAGES = ("torch", "numpy", "ray", "optuna", "pyarrow", "tensorboardX")
_HEADING = re.compile(r"^## (?=[a-z]\. )", re.MULTILINE)
#: A word that names a place of this machine, or the value of key=value that does.
_PLACE = re.compile(r"(?<![^=,\[ ])(?:~|/|\.\.?/)[^\s,\]]*")


@dataclass(frozen=True)
class Options:
    """What every part is called with.

    Attributes:
        part: its letter; a module may hold several parts.
        experiment: whose data, backbone and space are used.
        repeats: how often each figure is taken, in turns.
        quick: sizes that only show that it works.
        out: the file of results; pictures are put beside it.
        journal: folder of a run whose durations are used; None: the part's own.
    """

    part: str
    experiment: Experiment
    repeats: int = 3
    quick: bool = False
    out: Path = Path("RESULTS.md")
    journal: Path | None = None


@dataclass(frozen=True)
class Verdict:
    """A target, what was measured, and whether it is met; None: only told."""

    target: str
    measured: str
    met: bool | None = None

    def __str__(self) -> str:
        word = {True: "met", False: "missed", None: "for information"}[self.met]
        return f"- {self.target}: {self.measured} (**{word}**)"


@dataclass(frozen=True)
class Section:
    """One part's results.

    Attributes:
        title: heading, without the part's letter.
        lines: paragraphs: what was done, how figures are defined.
        tables: figures.
        verdicts: targets.
        pictures: file names beside the file of results -> what they show.
    """

    title: str
    lines: Sequence[str]
    tables: Sequence[Table] = ()
    verdicts: Sequence[Verdict] = ()
    pictures: Mapping[str, str] | None = None

    def markdown(self, letter: str, stamp: str) -> str:
        """Return the section; ``stamp`` says how and when it was measured."""
        parts = [f"## {letter}. {self.title}", stamp, *self.lines]
        parts += [markdown(table).strip() for table in self.tables]
        parts += [f"![{what}]({name})" for name, what in (self.pictures or {}).items()]
        parts += ["\n".join(str(verdict) for verdict in self.verdicts)] if self.verdicts else []
        return "\n\n".join(parts) + "\n"


def merged(existing: str, header: str, sections: Mapping[str, str]) -> str:
    """Return the file: the header, and the sections in the order of their letters.

    Args:
        existing: the file so far; its sections stay unless there is a new one.
        header: what stands above them.
        sections: letter -> Markdown, beginning with its heading.
    """
    old = {part[0]: f"## {part.strip()}\n" for part in _HEADING.split(existing)[1:]}
    both = {**old, **sections}
    return "\n".join([header.strip() + "\n", *(both[letter] for letter in sorted(both))])


def in_turns(
    contenders: Mapping[str, Callable[[], Figure]], repeats: int
) -> dict[str, list[Figure]]:
    """Run all contenders once, then all again (A B A B ...), so that drifts hit all alike."""
    found: dict[str, list[Figure]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, contender in contenders.items():
            found[name].append(contender())
    return found


def spread(values: Sequence[float], digits: int = 1, scale: float = 1.0) -> str:
    """Return the median, and lowest and highest where there are several."""
    scaled = sorted(value * scale for value in values)
    middle = f"{statistics.median(scaled):,.{digits}f}"
    if len(scaled) == 1:
        return middle
    return f"{middle} ({scaled[0]:,.{digits}f}..{scaled[-1]:,.{digits}f})"


def machine() -> list[str]:
    """Return what describes this machine, without its name or places."""
    cpu = _field("/proc/cpuinfo", "model name") or platform.processor() or "unknown CPU"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = _field("/etc/os-release", "PRETTY_NAME", "=").strip('"') or platform.system()
    found = [f"{name} {number}" for name in _PACKAGES if (number := installed(name))]
    return [
        f"{cpu}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB of memory, {system}, "
        f"Linux {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}, {', '.join(found)}",
    ]


def installed(package: str) -> str:
    """Return a package's version, empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def without_places(words: Sequence[str]) -> str:
    """Return a command line in which paths outside the repository are only PATH."""
    return _PLACE.sub("PATH", " ".join(words))


def _field(path: str, name: str, sign: str = ":") -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    values = [value for key, _, value in (line.partition(sign) for line in lines) if name in key]
    return values[0].strip() if values else ""
