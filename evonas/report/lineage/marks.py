"""Marks of the lineage figure: links to parents, dots, crosses, numbers of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evonas.report.lineage import labels as words
from evonas.report.lineage.tree import Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Digest -> generation, moved sideways within its column, and fitness.
Places = Mapping[str, tuple[float, float]]

HALO = 2.5  # points between the winner's dot and its ring


def bands(plot: Axes, first: int, last: int) -> None:
    """Shade every other generation."""
    for generation in range(first, last + 1, 2):
        plot.axvspan(generation - 0.5, generation + 0.5, color=words.BAND, linewidth=0, zorder=0)


def links(plot: Axes, family: Family, places: Places) -> None:
    """Draw a line from each child to its parent; once more, on top, the lines of descent."""
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    def curve(child: str) -> Path:
        (x0, y0), (x1, y1) = places[family.parents[child]], places[child]
        middle = (x0 + x1) / 2
        codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
        return Path([(x0, y0), (middle, y0), (middle, y1), (x1, y1)], codes)

    def add(gid: str, children: Sequence[str], **look: Any) -> None:
        if children:
            curves = [curve(child) for child in children]
            drawn = PathCollection(curves, facecolors="none", gid=gid, **look)
            plot.add_collection(drawn, autolim=False)

    share = {child: family.networks[child].inherited for child in family.parents}
    took = [child for child in share if share[child]]
    widths = [words.thickness(share[child]) for child in took]
    look: dict[str, Any] = {"edgecolors": words.SLATE, "alpha": words.FAINT, "zorder": 2}
    add("inherited", took, linewidths=widths, **look)
    look = {"edgecolors": words.GREY, "linewidths": 0.7, "linestyles": "dashed", "zorder": 1}
    add("not-inherited", [child for child in share if not share[child]], **look)
    for number, (digest, color, _) in enumerate(words.lines(family)):
        line = [trial.digest for trial in family.descent(digest)[1:]]
        add(f"line-{number}", line, edgecolors=color, linewidths=2.4, zorder=5 - number)


def dots(plot: Axes, family: Family, places: Places, radius: Mapping[str, float]) -> None:
    """Draw the networks: parents filled, others hollow, those on a line of descent on top."""
    parents, kin = set(family.parents.values()), words.kin(family)
    groups: dict[tuple[str, bool, bool], list[str]] = {}
    on_line: dict[str, str] = {}
    for digest, color, _ in words.lines(family):
        on_line = {trial.digest: color for trial in family.descent(digest)} | on_line
    for digest, trial in family.networks.items():
        plain = words.GREY if trial.status == "stopped" else words.SLATE
        color = on_line.get(digest, words.KIN if digest in kin else plain)
        groups.setdefault((color, digest in parents, digest in on_line), []).append(digest)
    for (color, filled, on_top), members in groups.items():
        plot.scatter(
            [places[digest][0] for digest in members],
            [places[digest][1] for digest in members],
            s=[(2 * radius[digest]) ** 2 for digest in members],
            facecolors=color if filled else "white",
            edgecolors=color,
            linewidths=1.0,
            zorder=7 if on_top else 6,
            gid=f"dots-{'filled' if filled else 'hollow'}{color}",
        )
    if family.winner:
        x, y = places[family.winner]
        ring = (2 * (radius[family.winner] + HALO)) ** 2
        look: dict[str, Any] = {"facecolors": "none", "edgecolors": words.WINNER, "zorder": 8}
        plot.scatter([x], [y], s=ring, linewidths=1.4, gid="winner", **look)


def crosses(plot: Axes, places: Sequence[float]) -> None:
    """Draw failed trainings at the top edge.

    Args:
        plot: to draw in.
        places: of each one along the axis of generations.
    """
    if places:
        look: dict[str, Any] = {"marker": "x", "color": words.GREY, "linewidths": 1.0, "s": 16}
        across = plot.get_xaxis_transform()
        plot.scatter(places, [0.975] * len(places), transform=across, gid="failed", **look)


def numbers(plot: Axes, places: Places, steps: Sequence[words.Step]) -> None:
    """Write the number of each step of a line of descent above its dot."""
    for number, (digest, color, _) in enumerate(steps, 1):
        look: dict[str, Any] = {"fontsize": words.LABEL, "color": color, "weight": "bold"}
        look |= {"ha": "center", "zorder": 9, "annotation_clip": False}
        look["bbox"] = {"facecolor": "white", "alpha": 0.7, "pad": 0.3, "linewidth": 0}
        plot.annotate(str(number), places[digest], (0, 10), textcoords="offset points", **look)
