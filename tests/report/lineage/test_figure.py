"""The family tree of a search: lines of descent, what changed, the picture, the verb."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import Cli, said
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from msgspec.structs import replace
from PIL import Image

from evonas.errors import InputError
from evonas.report.lineage import figure as lineage
from evonas.report.lineage import labels
from evonas.report.lineage.figure import draw
from evonas.report.lineage.tree import Family, changes, step
from evonas.runs.run_store import Trial

SVG = "{http://www.w3.org/2000/svg}"


def trial(
    name: str, generation: int, fitness: float | None, parent: str = "", **more: Any
) -> Trial:
    settings = more.pop("settings", {"stem": 8})
    status = more.pop("status", "failed" if fitness is None else "ok")
    architecture = {"network": "n", "settings": settings}
    one = Trial(generation, 0, (0.5,), name, architecture, status, fitness, 1000)
    return replace(one, parent=parent, **more)


def search() -> list[Trial]:
    """A grandmother taken over, her line to the winner d, and a family of one."""
    return [
        trial("a", -1, 9.0, status="earlier", settings={"stem": 8, "block": "conv", "k": 3}),
        trial("x", -1, None, status="suggested"),
        trial("b", 0, 8.0, "a", inherited=0.5, settings={"stem": 16, "block": "conv", "k": 3}),
        trial("c", 0, 9.5, "a"),
        trial("lone", 0, 7.5, macs=90_000),
        trial("bad", 0, None, "a"),
        trial("b", 1, 8.0, status="repeat"),
        trial("dear", 1, None, "b", status="infeasible"),
        trial("d", 1, 5.0, "b", inherited=1.0, settings={"stem": 32, "tail": True, "k": 5}),
        trial("e", 2, 6.0, "d"),
        trial("d", 1, 6.5, status="final", repeat=1),
    ]


def test_the_line_of_the_winner_goes_back_to_its_first_ancestor() -> None:
    family = Family.of(search())
    assert [one.digest for one in family.descent()] == ["a", "b", "d"]
    assert [one.digest for one in family.descent("e")] == ["a", "b", "d", "e"]
    assert [one.digest for one in family.descent("lone")] == ["lone"]
    assert Family.of([]).descent() == []


def test_only_networks_with_a_fitness_of_their_own_are_in_the_family() -> None:
    family = Family.of(search())
    assert list(family.networks) == ["a", "b", "c", "lone", "d", "e"]
    assert dict(family.parents) == {"b": "a", "c": "a", "d": "b", "e": "d"}
    assert [one.digest for one in family.failed] == ["bad"]


def test_families_are_those_of_a_first_ancestor() -> None:
    groups = Family.of(search()).families()
    assert {founder: [one.digest for one in group] for founder, group in groups.items()} == {
        "a": ["a", "b", "c", "d", "e"],
        "lone": ["lone"],
    }


def test_a_journal_that_goes_round_in_circles_comes_to_an_end() -> None:
    circle = [trial("a", 0, 1.0, "b"), trial("b", 1, 2.0, "a"), trial("s", 1, 3.0, "s")]
    family = Family.of(circle)
    assert [one.digest for one in family.descent("a")] == ["b", "a"]
    assert sum(map(len, family.families().values())) == 3
    assert "s" not in family.parents


def test_the_finals_name_the_winner_and_the_search_its_lowest() -> None:
    finals = [trial("lone", 0, 6.0, status="final", repeat=1)]
    family = Family.of([*search(), *finals])
    assert (family.winner, family.lowest) == ("lone", "d")
    assert Family.of(search(), "e").winner == "e"
    assert Family.of(search(), "nobody").winner == "d"


def test_changes_are_genes_with_their_old_and_new_values() -> None:
    known = Family.of(search()).networks
    assert changes(known["a"], known["b"]) == [("stem", 8, 16)]
    found = changes(known["b"], known["d"])
    assert found == [("stem", 16, 32), ("tail", None, True), ("k", 3, 5), ("block", "conv", None)]
    other = replace(known["a"], architecture={**known["a"].architecture, "network": "m"})
    assert changes(known["a"], other) == [("network", "n", "m")]


def test_a_step_names_two_changes_and_counts_the_rest() -> None:
    known = Family.of(search()).networks
    assert step(known["a"], known["b"]) == "stem: 8 → 16"
    assert step(known["b"], known["d"]) == "stem: 16 → 32, tail: – → True, +2"
    assert step(known["b"], known["d"], 0) == "4 changed"
    assert step(known["a"], known["a"]) == "the same settings"


def test_a_generation_is_spread_in_the_order_of_its_proposals() -> None:
    trials = [trial(str(k), generation, 1.0) for k, generation in enumerate((0, 1, 0, 0))]
    places = lineage._spread(trials, apart=10.0, unit=100.0)
    assert places == pytest.approx([-0.1, 1.0, 0.0, 0.1])
    crowded = lineage._spread([trial(str(k), 3, 1.0) for k in range(50)], 10.0, 100.0)
    assert np.diff(crowded) == pytest.approx(0.8 / 50), "within the band of its generation"


def test_radii_follow_the_logarithm_of_the_cost() -> None:
    def radii(macs: list[int], unit: float) -> list[float]:
        trials = [trial(str(k), 0, 1.0, macs=value) for k, value in enumerate(macs)]
        return list(lineage._radii(Family.of(trials), unit).values())

    assert radii([10, 100, 1000], 100.0) == pytest.approx([2.6, 4.3, 6.0])
    assert radii([7, 7], 100.0) == pytest.approx([2.6, 2.6])
    assert radii([10, 1000], 4.2) == pytest.approx([2.6 * 0.6, 6.0 * 0.6]), "two in 4.2 points"


def parts(path: Path) -> dict[str, int]:
    """Return how often each group of the picture draws its shape, by the start of its name."""
    found: dict[str, int] = {}
    for group in ElementTree.parse(path).iter(f"{SVG}g"):
        name = re.split("[-#]", group.get("id", ""))[0]
        found[name] = found.get(name, 0) + drawn(group)
    return found


def drawn(group: ElementTree.Element) -> int:
    """Count the shapes of a group: few are there themselves, many are defined and used."""
    defined = sum(len(list(one.iter(f"{SVG}path"))) for one in group.iter(f"{SVG}defs"))
    return len(list(group.iter(f"{SVG}use"))) + len(list(group.iter(f"{SVG}path"))) - defined


def texts(path: Path) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.parse(path).iter(f"{SVG}text")]


def test_the_picture_has_a_dot_for_each_network_and_a_line_to_each_parent(tmp_path: Path) -> None:
    path = tmp_path / "l.svg"
    assert draw(search(), path, "my run") == path
    found = parts(path)
    assert (found["dots"], found["winner"], found["failed"]) == (6, 1, 1)
    assert (found["inherited"], found["not"], found["line"]) == (2, 2, 2)
    filled = [
        group
        for group in ElementTree.parse(path).iter(f"{SVG}g")
        if group.get("id", "").startswith("dots-filled")
    ]
    assert sum(map(drawn, filled)) == 3


def test_the_picture_says_what_it_shows(tmp_path: Path) -> None:
    draw(search(), tmp_path / "l.svg", "my run")
    found = texts(tmp_path / "l.svg")
    assert "Lineage of my run" in found
    facts = "6 networks trained in 3 generations, 1 taken over, 4 with a parent, best fitness 5"
    assert facts in found
    steps = {"1  first ancestor", "2  stem: 8 → 16", "3  stem: 16 → 32, tail: – → True, +2"}
    assert steps | {"1", "2", "3"} <= set(found)
    assert {"earlier", "0", "1", "2", "generation", "fitness (lower is better)"} <= set(found)
    legend = {"has children (3)", "has none (3)", "training failed (1)", "90 k multiply-adds"}
    assert legend <= set(found)


def test_where_the_finals_name_another_one_both_lines_are_shown(tmp_path: Path) -> None:
    finals = [trial("c", 0, 6.0, status="final", repeat=1)]
    draw([*search(), *finals], tmp_path / "l.svg")
    assert parts(tmp_path / "l.svg")["line"] == 3
    found = texts(tmp_path / "l.svg")
    assert sum(text.startswith("to the ") for text in found) == 2
    assert "2  block: conv → –, k: 3 → –" in found
    assert found.count("1  first ancestor") == 1, "of both lines, but once"


def test_the_same_journal_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "a.png", "b.png"):
        draw(search(), tmp_path / name, "run")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] > 1000


def test_where_nobody_has_a_parent_there_is_no_picture(tmp_path: Path) -> None:
    strangers = [trial("a", 0, 1.0), trial("b", 1, 2.0, "gone"), trial("c", 1, None, "a")]
    for trials in ([], strangers):
        assert draw(trials, tmp_path / "l.svg") is None
    assert not (tmp_path / "l.svg").exists()


def test_where_all_were_stopped_there_is_no_picture_yet(tmp_path: Path) -> None:
    trials = [trial("a", 0, 2.0, status="stopped"), trial("b", 1, 1.0, "a", status="stopped")]
    assert draw(trials, tmp_path / "a.svg") is None
    assert draw([*trials, trial("c", 2, 1.5, "b")], tmp_path / "a.svg") is not None


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.svg or \.png"):
        draw(search(), tmp_path / "l.jpeg")


def width(text: str) -> float:
    """Return how many points wide a line of the list of steps is."""
    font = FontProperties(family="DejaVu Sans", size=labels.LABEL)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def crowd(generations: int, size: int, factor: float) -> list[Trial]:
    """Each generation descends from the first of the one before."""
    return [
        trial(
            f"{g}-{k}", g, 10.0 * factor**g + k / 10, f"{g - 1}-0" if g else "", inherited=k / size,
            settings={"a long name of a gene": g, "$another$": f"value <{g}> & more"},
        )
        for g in range(generations) for k in range(size)
    ]  # fmt: skip


@pytest.mark.parametrize(("generations", "size"), [(2, 3), (20, 15), (120, 1)])
def test_nothing_is_cut_off_whatever_the_size(tmp_path: Path, generations: int, size: int) -> None:
    path = tmp_path / "l.svg"
    draw(crowd(generations, size, 0.9), path, "name " * 40)
    assert parts(path)["dots"] == generations * size
    assert parts(path)["line"] == generations - 1
    root = ElementTree.parse(path).getroot()
    wide = float(root.get("width", "").removesuffix("pt"))
    high = float(root.get("height", "").removesuffix("pt"))
    for node in root.iter(f"{SVG}text"):
        moved = re.search(r"translate\(([\d.-]+) ([\d.-]+)\)", node.get("transform", ""))
        at = moved.groups() if moved else (node.get("x"), node.get("y"))
        x, y = float(at[0] or "nan"), float(at[1] or "nan")
        assert 0 < x < wide
        assert 0 < y < high
        label = "".join(node.itertext())
        if "long name" in label or "changed" in label:
            assert x + width(label) < wide


def test_a_wide_range_of_fitness_has_a_logarithmic_axis(tmp_path: Path) -> None:
    draw(crowd(20, 2, 0.8), tmp_path / "wide.svg")
    assert {"0.2", "0.5", "1", "2", "5", "10"} <= set(texts(tmp_path / "wide.svg"))
    draw(crowd(3, 2, 0.9), tmp_path / "narrow.svg")
    assert "9.0" in texts(tmp_path / "narrow.svg")
    draw(crowd(3, 1, 1.0), tmp_path / "flat.svg")
    perfect = [*crowd(3, 1, 1.0), trial("p", 3, 0.0, "2-0")]
    draw(perfect, tmp_path / "perfect.svg")
    assert "0" in texts(tmp_path / "perfect.svg"), "no logarithm"


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    rows = [f"{a}{b}{c},{(a - 1) ** 2 + abs(b - 2) + c + 1},{1 + a}" for a in range(3)
            for b in range(3) for c in range(3)]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(["arch,err,ops", *rows]), "utf-8")
    content = {
        "name": "small",
        "budget": 12,
        "optimizer": {"name": "evolution", "population_size": 3},
        "table": {"file": "t.csv", "digits": "arch", "error": "err", "cost": "ops"},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content), "utf-8")
    return tmp_path / "small.yaml"


def test_a_search_ends_with_the_picture_and_the_verb_draws_the_same(
    evonas: Cli, experiment: Path, tmp_path: Path
) -> None:
    code, out, err = evonas("search", experiment, "--run-dir", "run")
    assert code == 0, err
    assert "Lineage: parents, children and their changes: run/lineage.svg." in out
    first = (tmp_path / "run" / "lineage.svg").read_bytes()
    assert b"Lineage of run" in first
    code, out, _ = evonas("lineage", "run", "--out", "other.svg")
    assert (code, out) == (0, "written: other.svg\n")
    assert (tmp_path / "other.svg").read_bytes() == first
    (tmp_path / "run" / "best.json").unlink()  # as in a run whose first network trains
    assert evonas("lineage", "run", "--out", "third.PNG")[0] == 0
    assert (tmp_path / "third.PNG").stat().st_size > 5000


def test_a_picture_that_fails_does_not_lose_the_search(
    evonas: Cli, experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []

    def broken(*words: object) -> None:
        told.extend(words[1:])
        raise RuntimeError("no fonts")

    monkeypatch.setattr(lineage, "draw", broken)
    code, out, _ = evonas("search", experiment, "--run-dir", "run")
    assert code == 0
    assert "lineage.svg could not be written (RuntimeError: no fonts); evonas lineage run" in out
    best = json.loads((tmp_path / "run" / "best.json").read_text("utf-8"))
    assert told == [Path("run/lineage.svg"), "run", best["digest"]]
    assert "no fonts" in (tmp_path / "run" / "log.txt").read_text("utf-8")
    assert not (tmp_path / "run" / "lineage.svg").exists()


def test_the_verb_says_what_is_missing(evonas: Cli, experiment: Path, tmp_path: Path) -> None:
    assert said(evonas("lineage", "nowhere")) == "nowhere: there is no such run"
    (tmp_path / "empty").mkdir()
    assert said(evonas("lineage", "empty")).startswith("empty: holds no run")
    assert evonas("search", experiment, "--run-dir", "run", "--optimizer", "random")[0] == 0
    assert not (tmp_path / "run" / "lineage.svg").exists()
    line = said(evonas("lineage", "run"))
    assert "--inherit or --optimizer evolution" in line
    assert "ends in .svg or .png" in said(evonas("lineage", "run", "--out", "l.pdf"))


def test_a_picture_that_cannot_be_written_is_named(
    evonas: Cli, experiment: Path, tmp_path: Path
) -> None:
    assert evonas("search", experiment, "--run-dir", "run")[0] == 0
    line = said(evonas("lineage", "run", "--out", "nowhere/l.svg"))
    assert line.startswith("nowhere/l.svg: cannot be written")
