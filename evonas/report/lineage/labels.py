"""Words and colours of the family tree's picture: title, axes, legend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from evonas.report.lineage.tree import Family

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by those who see few colours (Okabe and Ito).
WINNER, LOWEST, KIN, SLATE, GREY = "#d55e00", "#0072b2", "#e69f00", "#475569", "#94a3b8"
BAND, FAINT = "#f3f4f6", 0.4  # of columns; the opacity of links
LABEL = 8.0  # points
_NAME = 60  # characters of a run's name


def lines(family: Family) -> Iterator[tuple[str, str, str]]:
    """Yield digest, colour and words of the networks whose descent is shown.

    That is the winner, and the lowest of the search itself where finals named another one.
    """
    if family.winner == family.lowest:
        yield family.winner, WINNER, "from the first ancestor to the winner"
        return
    yield family.winner, WINNER, "to the winner, as the finals name it"
    yield family.lowest, LOWEST, "to the lowest fitness in the search"


def kin(family: Family) -> set[str]:
    """Return the digests of all that have the winner's first ancestor."""
    groups = ({trial.digest for trial in group} for group in family.families().values())
    return next((group for group in groups if family.winner in group), set())


def thickness(share: float) -> float:
    """Return the width of a link, in points, by the share that was inherited."""
    return 0.4 + 1.8 * share


def width(text: str) -> float:
    """Return how many points wide a label is."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=LABEL)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def ticks(plot: Axes) -> None:
    """Number the generations; tell fitness in plain numbers, also on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    plot.xaxis.set_major_locator(MaxNLocator(nbins=24, integer=True, steps=[1, 2, 5, 10]))
    told = FuncFormatter(lambda value, _: "earlier" if value < 0 else f"{value:g}")
    plot.xaxis.set_major_formatter(told)
    plot.tick_params(axis="x", length=0, pad=5)
    plot.annotate("generation", (1.0, 0.0), (7, -5), xycoords="axes fraction",
                  textcoords="offset points", va="top", annotation_clip=False)  # fmt: skip
    for label in plot.get_xticklabels():
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0})
    if plot.get_yscale() == "log":
        plot.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        plot.yaxis.set_minor_locator(NullLocator())
        plot.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    plot.spines[["top", "right"]].set_visible(False)
    plot.grid(axis="y", color="#e5e7eb", linewidth=0.6)
    plot.set_axisbelow(True)


def legend(plot: Axes, family: Family, radius: Mapping[str, float]) -> None:
    """Say right of the plot what everything in it means, and only of what there is."""
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
            stroke(f"{text};\nbelow it what each step changed", color, 2.4)
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
    """Write above the plot what it shows, and its numbers."""
    short = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
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
    """Return a number of operations in three digits."""
    for unit, word in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {word}"
    return str(number)
