"""The pages on decisions have one form, and they and the architecture name what is there."""

from __future__ import annotations

import configparser
import re

from documents import ROOT

FOLDER = ROOT / "docs" / "decisions"
ARCHITECTURE = ROOT / "docs" / "ARCHITECTURE.md"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))
#: Further pages that name files of the repository.
NAMING = [FOLDER / "README.md", ARCHITECTURE, ROOT / "docs" / "TESTING.md"]
FOLDERS = "evonas|docs|tests|experiments|search_spaces"
HEADINGS = ["Context", "Decision", "Consequences", "What would change it"]


def test_numbers_follow_one_another() -> None:
    assert len(PAGES) >= 79
    assert [int(page.name[:3]) for page in PAGES] == [*range(1, len(PAGES) + 1)]


def test_every_page_has_the_form() -> None:
    for page in PAGES:
        lines = page.read_text("utf-8").splitlines()
        assert re.fullmatch(rf"# {int(page.name[:3])}\. \S.*[^.]", lines[0]), page.name
        assert [line[3:] for line in lines if line.startswith("## ")] == HEADINGS, page.name
        sections = re.split(r"^## .*$", "\n".join(lines), flags=re.M)[1:]
        assert all(len(section.split()) >= 5 for section in sections), page.name
        assert 10 <= sum(bool(line) for line in lines) <= 25, page.name
        assert max(map(len, lines)) <= 110, page.name


def test_the_index_lists_every_page_with_its_title() -> None:
    text = (FOLDER / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d{3}) \| \[(.+)\]\((\S+)\) \| \S.* \|$", text, re.M)
    titles = [page.read_text("utf-8").split("\n", 1)[0].partition(". ")[2] for page in PAGES]
    assert rows == [
        (page.name[:3], title, page.name) for page, title in zip(PAGES, titles, strict=True)
    ]


def test_files_and_pages_that_are_named_are_there() -> None:
    missing: set[tuple[str, str]] = set()
    for page in [*PAGES, *NAMING]:
        text = page.read_text("utf-8")
        named = re.findall(
            r"\b((?:evonas|docs|tests|experiments|search_spaces)/[\w./-]*\w/?)", text
        )
        missing |= {(page.name, name) for name in named if not (ROOT / name).exists()}
        links = re.findall(r"\]\(([^():#]+)\)", text)
        missing |= {(page.name, link) for link in links if not (page.parent / link).exists()}
    assert not missing


def test_code_that_is_named_beside_a_file_is_in_it() -> None:
    """Of "`commit` in `evonas/estimation/features/cache_files.py`" both are checked."""
    for page in PAGES:
        text = " ".join(page.read_text("utf-8").split())
        for name, file in re.findall(r"`([\w.]+)` in `(evonas/[\w/]+\.\w+)`", text):
            content = (ROOT / file).read_text("utf-8")
            word = name.rpartition(".")[2]
            assert re.search(rf"\b{word}\b", content), f"{page.name}: {name} in {file}"


def test_the_floors_are_those_of_the_contract() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", "utf-8")
    layers = settings["importlinter:contract:floors"]["layers"].split("\n")
    contract = [re.findall(r"\w+", layer) for layer in layers if layer]
    table = ARCHITECTURE.read_text("utf-8").partition("| floor, top first |")[2]
    rows = [row for row in table.partition("\n\n")[0].splitlines()[2:] if row]
    assert [re.findall(r"`(\w+)`", row.split("|")[1]) for row in rows] == contract


def test_it_is_one_page() -> None:
    assert len(ARCHITECTURE.read_text("utf-8").splitlines()) <= 120
