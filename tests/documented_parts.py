"""Puts the files that a document shows where it says, as if a person had written them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evonas.core import registry

_PACKAGE = Path(registry.__file__).parents[1]


@contextmanager
def installed(folder: Path, files: dict[str, str]) -> Iterator[None]:
    """Write files; those below ``evonas/`` are parts as long as this lasts.

    The package itself stays as it is: the registry looks into a copy made of links.

    Args:
        folder: the working directory of the document's commands.
        files: path -> content.
    """
    parts = {path: text for path, text in files.items() if path.startswith("evonas/")}
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    kinds = {str(Path(path).parent) for path in parts}
    for file in (file for kind, _, _ in registry.KINDS.values() for file in _files(kind)):
        link = folder / "evonas" / file.relative_to(_PACKAGE)
        if parts and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    packages = [importlib.import_module(kind.replace("/", ".")) for kind in sorted(kinds)]
    for package in packages:
        package.__path__.append(str(folder / package.__name__.replace(".", "/")))
    if parts:
        registry._PACKAGE = folder / "evonas"
    try:
        yield
    finally:
        registry._PACKAGE = _PACKAGE
        for package in packages:
            package.__path__.pop()
        for path in files:
            name = path.removesuffix(".py").replace("/", ".")
            if sys.modules.pop(name, None) and path in parts:
                delattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2])


def _files(kind: str) -> list[Path]:
    return sorted((_PACKAGE / kind).glob("*.py"))
