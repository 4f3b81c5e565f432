"""Puts the files that a document shows where it says, as if a person had written them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evonas.core import registry


@contextmanager
def installed(folder: Path, files: dict[str, str]) -> Iterator[None]:
    """Write files; those below ``evonas/`` are parts as long as this lasts.

    The package itself stays as it is: the registry looks into the folder as well.

    Args:
        folder: the working directory of the document's commands.
        files: path -> content.
    """
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    parts = [path for path in files if path.startswith("evonas/")]
    kinds = sorted({str(Path(path).parent) for path in parts})
    packages = [importlib.import_module(kind.replace("/", ".")) for kind in kinds]
    for package in packages:
        package.__path__.append(str(folder / package.__name__.replace(".", "/")))
    registry._SOURCES.append(folder / "evonas")
    try:
        yield
    finally:
        registry._SOURCES.remove(folder / "evonas")
        for package in packages:
            package.__path__.pop()
        for path in files:
            name = path.removesuffix(".py").replace("/", ".")
            if sys.modules.pop(name, None) and path in parts:
                delattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2])
