"""Words and colours of the lineage figure: title, axes, legend, list of steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evonas.report.lineage.tree import Family, clipped, step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by those who see few colours (Okabe and Ito).
WINNER, LOWEST, KIN, SLATE, GREY = "#d55e00", "#0072b2", "#e69f00", "#475569", "#94a3b8"
BAND, FAINT = "#f3f4f6", 0.4  # of columns; the opacity of links
LABEL = 8.0  # points
ROW, _CHARACTER = 0.19, 0.078  # inches of a line in the list of steps, and of its characters
_NAME, _STEP = 60, 130  # characters of a run's name, and of a step

#: Digest, colour, and what changed from the parent.
Step = tuple[str, str, str]


def lines(family: Family) -> Iterator[tuple[str, str, str]]:
    """Yield digest, colour and legend of each network whose line of descent is drawn.

    That is the winner, and the lowest fitness of the search if the finals named another winner.
    """
    if family.winner == family.lowest:
        yield family.winner, WINNER, "from the first ancestor to the winner"
        return
    yield family.winner, WINNER, "to the winner, as the finals name it"
    yield family.lowest, LOWEST, "to the lowest fitness in the search"


def kin(family: Family) -> set[str]:
    """Return the digests of all networks that share the winner's first ancestor."""
    groups = ({trial.digest for trial in group} for group in family.families().values())
    return next((group for group in groups if family.winner in group), set())


def thickness(share: float) -> float:
    """Return the width of a link in points from the inherited fraction of weights."""
    return 0.4 + 1.8 * share


def steps(family: Family) -> Iterator[Step]:
    """Yield each network on the lines of descent, once, with its changes."""
    drawn: set[str] = set()
    for digest, color, _ in lines(family):
        for trial in family.descent(digest):
            if trial.digest in drawn:
                continue
            drawn.add(trial.digest)
            parent = family.parents.get(trial.digest)
            if parent is not None:
                text = step(family.networks[parent], trial)
            else:
                alone = trial.digest not in family.parents.values()
                text = "has no parent" if alone else "first ancestor"
            yield trial.digest, color, clipped(text, _STEP)


def step_rows(found: Sequence[Step], inches: float) -> int:
    """Return how many rows the list of steps has, in as many columns as the width allows."""
    longest = max(len(text) for *_, text in found) + 6
    return math.ceil(len(found) / max(1, int(inches / (longest * _CHARACTER))))


def list_steps(figure: Figure, found: Sequence[Step], rows: int, left: float) -> None:
    """List the steps of the lines of descent at the lower edge, by their numbers.

    Args:
        figure: to write on.
        found: of ``steps``.
        rows: of ``step_rows``.
        left: inches to the left of the list.
    """
    wide, high = figure.get_size_inches()
    columns = math.ceil(len(found) / rows)
    for index, (digest, color, text) in enumerate(found):
        column, row = divmod(index, rows)
        x = (left + column * (wide - left) / columns) / wide
        y = ROW * (rows - row - 0.4) / high
        look: dict[str, Any] = {"fontsize": LABEL, "color": color, "gid": f"step-{digest}"}
        figure.text(x, y, f"{index + 1}  {text}", **look)


def ticks(plot: Axes) -> None:
    """Format the axes: generations as integers, fitness as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    plot.xaxis.set_major_locator(MaxNLocator(nbins=24, integer=True, steps=[1, 2, 5, 10]))
    formatter = FuncFormatter(lambda value, _: "earlier" if value < 0 else f"{value:g}")
    plot.xaxis.set_major_formatter(formatter)
    plot.tick_params(axis="x", length=0, pad=5)
    plot.annotate("generation", (1.0, 0.0), (7, -5), xycoords="axes fraction",
                  textcoords="offset points", va="top", annotation_clip=False)  # fmt: skip
    for label in plot.get_xticklabels():
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0})
    if plot.get_yscale() == "log":
        plot.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        plot.yaxis.set_minor_locator(NullLocator())
        plot.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    plot.grid(axis="y", color="#e5e7eb", linewidth=0.6)
    plot.set_axisbelow(True)


def legend(plot: Axes, family: Family, radius: Mapping[str, float]) -> None:
    """Draw the legend to the right of the plot, with entries for what the plot contains."""
    from matplotlib.lines import Line2D

    networks = family.networks.values()
    shares = [family.networks[child].inherited for child in family.parents]
    parents = set(family.parents.values())
    shown: list[tuple[Line2D, str]] = []

    def dot(text: str, color: str, fill: str, radius: float = 4.0, **look: Any) -> None:
        line = Line2D([], [], linestyle="", marker="o", markersize=2 * radius, color=color,
                      markerfacecolor=fill, **look)  # fmt: skip
        shown.append((line, text))

    def stroke(text: str, color: str, width: float, **look: Any) -> None:
        shown.append((Line2D([], [], color=color, linewidth=width, **look), text))

    for digest, color, text in lines(family):
        if digest in family.parents:
            stroke(f"{text};\nits steps are listed below", color, 2.4)
    dot("the winner", WINNER, "none", 6.0, markeredgewidth=1.4)
    related = kin(family)
    if len(related) > len(family.descent()):
        dot(f"has the winner's first ancestor ({len(related)})", KIN, KIN)
    dot(f"has children ({len(parents)})", SLATE, SLATE)
    dot(f"has none ({len(family.networks) - len(parents)})", SLATE, "white")
    stopped = sum(trial.status == "stopped" for trial in networks)
    if stopped:
        dot(f"stopped in a race ({stopped})", GREY, "white")
    costs = sorted(networks, key=lambda trial: trial.macs)
    for trial in (costs[0], costs[-1]) if costs[0].macs < costs[-1].macs else ():
        dot(f"{_count(trial.macs)} multiply-adds", SLATE, "white", radius[trial.digest])
    if any(shares):
        stroke("all its weights are from its parent", SLATE, thickness(1.0), alpha=FAINT)
        stroke("a quarter of them", SLATE, thickness(0.25), alpha=FAINT)
    if not all(shares):
        stroke("has a parent, but none of its weights", GREY, 0.7, linestyle="dashed")
    if family.failed:
        cross = Line2D([], [], linestyle="", marker="x", markersize=4.5, color=GREY)
        shown.append((cross, f"training failed ({len(family.failed)})"))
    plot.legend(
        [line for line, _ in shown],
        [text for _, text in shown],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=LABEL,
        labelspacing=0.75,
        borderaxespad=0.0,
    )


def title(
    figure: Figure, family: Family, name: str, place: tuple[float, float], line: float
) -> None:
    """Write the title and the counts above the plot."""
    short = clipped(name, _NAME)
    own = [trial for trial in family.networks.values() if trial.trained]
    given = len(family.networks) - len(own)
    generations = len({trial.generation for trial in [*own, *family.failed]})
    lowest = family.networks[family.lowest].value
    facts = [
        f"{len(own) + len(family.failed)} networks trained in {generations} generations",
        f"{given} taken over" if given else "",
        f"{len(family.parents)} with a parent",
        f"best fitness {lowest:.4g}",
    ]
    heading = f"Lineage of {short}" if short else "Lineage of a search"
    figure.text(*place, heading, fontsize=12, fontweight="bold", va="top")
    figure.text(place[0], place[1] - line, ", ".join(filter(None, facts)), color=SLATE, va="top")


def _count(number: int) -> str:
    """Return a number of operations with three significant digits."""
    for unit, word in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {word}"
    return str(number)
