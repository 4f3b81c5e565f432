"""Matplotlib figures as file contents: PNG or SVG with the same bytes for the same figure."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Endings of figure files.
FORMS = ("png", "svg")
#: Text stays text in SVG, names are no formulas, and the font is the one that matplotlib ships.
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "evonas",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@contextmanager
def figure_style(**settings: Any) -> Iterator[None]:
    """Apply the style of all figures, and further matplotlib settings, inside a ``with`` block."""
    import matplotlib  # slow to import, and only figures need it

    chosen: dict[Any, Any] = {**_SETTINGS, **settings}
    with matplotlib.rc_context(chosen):
        yield


def encoded(figure: Figure, form: str, dpi: int = 130) -> bytes:
    """Return a figure as the content of a file, without a date and without matplotlib's version.

    Args:
        figure: built inside ``figure_style``.
        form: ``png`` or ``svg``.
        dpi: dots per inch of a PNG.
    """
    stream = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if form == "svg" else {"Software": None}
    figure.savefig(stream, format=form, dpi=dpi, metadata=metadata)
    return stream.getvalue()
