"""What mkdocs asks while it builds: pages that come from elsewhere, and links that lead to them."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))  # the theme's threads import late

from reference import PAGES, page
from settings import every_setting
from verbs import command_line

ROOT = Path(__file__).parents[2]
#: Files of the repository that are pages of the site.
ELSEWHERE = {
    "README.md": "index.md",
    "experiments/README.md": "MEASURED.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
#: The mark of a block that tests do not run; the site's parser takes it for no fence.
_NOT_RUN = re.compile(r"^(```\w+) no-run$", re.M)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that stand elsewhere in the repository, and those that are generated."""
    made = {
        "reference/command-line.md": command_line(),
        "reference/settings.md": every_setting(),
        **{f"reference/{name}.md": page(name) for name in PAGES},
    }
    for source, target in ELSEWHERE.items():
        made[target] = linked((ROOT / source).read_text("utf-8"), source, target)
    for target, text in made.items():
        files.append(File.generated(config, target, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Mend the links of pages that lie in docs."""
    place = page.file.src_uri
    if place in ELSEWHERE.values() or place.startswith("reference/"):
        return markdown
    return linked(markdown, f"docs/{place}", place)


def linked(text: str, source: str, target: str) -> str:
    """Return a page's text with links that lead where the site has things.

    Args:
        text: Markdown whose links start from ``source``.
        source: its path in the repository.
        target: its path in the site. What the site does not have becomes plain words.
    """

    def mended(found: re.Match[str]) -> str:
        picture, words, address = found.groups()
        path, hash_, anchor = address.partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            return found[0]
        whole = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / whole).exists():
            raise FileNotFoundError(f"{source} links to {address}, which is not there")
        goal = _goal(whole)
        if goal is None:
            return words
        way = posixpath.relpath(goal, posixpath.dirname(target) or ".")
        return f"{picture}[{words}]({way}{hash_}{anchor})"

    text = _NOT_RUN.sub(r"\1", text)
    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else _LINK.sub(mended, part) for part in parts)


def _goal(path: str) -> str | None:
    """Return where the site has a file of the repository: source files are in the reference."""
    module = path.removesuffix(".py").replace("/", ".")
    for name, (_, _, modules) in PAGES.items():
        if module in modules:
            return f"reference/{name}.md"
    return ELSEWHERE.get(path) or (path[5:] if path.startswith("docs/") else None)
