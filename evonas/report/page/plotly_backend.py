"""Converts charts to plotly's JSON, which its script draws in a browser."""

from __future__ import annotations

import html
import math
from typing import Any

from evonas.report.page import charts
from evonas.report.page.charts import Chart, Figure, Parallel, Series

_MODES = {"line": "lines", "steps": "lines", "points": "markers"}
_GRID = "#e6e8eb"
_FONT = {"family": "system-ui, sans-serif", "size": 13, "color": "#1d2430"}
_SYMBOLS = {"cross": "x"}
_BAR = 34  # pixels a bar


def plain(figure: Figure) -> dict[str, Any]:
    """Return a chart as plotly's ``{"data": [...], "layout": {...}}``."""
    return _parallel(figure) if isinstance(figure, Parallel) else _chart(figure)


def _chart(chart: Chart) -> dict[str, Any]:
    lying = any(series.marks == "bars" for series in chart.series)
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    layout: dict[str, Any] = {
        **_layout(420 if not lying else 90 + _BAR * max(len(s.y) for s in chart.series)),
        "xaxis": {"title": {"text": _text(chart.x)}, "gridcolor": _GRID, "zeroline": False},
        "yaxis": {"title": {"text": _text(chart.y)}, "gridcolor": _GRID, "zeroline": False},
        "showlegend": sum(bool(series.name) for series in chart.series) > 1,
        "legend": legend,
        "hovermode": "closest",
    }
    for axis in chart.logarithmic:
        layout[f"{axis}axis"]["type"] = "log"
    if lying:
        layout["yaxis"] |= {"autorange": "reversed", "automargin": True}
    if chart.top is not None:
        low = chart.lowest
        layout["yaxis"]["range"] = [low - 0.05 * (chart.top - low), chart.top]
    if chart.right:
        layout["yaxis2"] = {"title": {"text": _text(chart.right)}, "overlaying": "y"}
        layout["yaxis2"] |= {"side": "right", "showgrid": False, "zeroline": False}
        layout["margin"]["r"] = layout["margin"]["l"]
    if chart.span is not None:
        layout["xaxis"]["range"] = [_exponent(x, chart) for x in chart.span]
    limits = chart.limits
    line = {"dash": "dash", "width": 1, "color": charts.GREY}
    layout["shapes"] = [
        {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line}
        for x, _ in limits
    ]
    layout["annotations"] = [
        {"x": _exponent(x, chart), "yref": "paper", "y": 1, "text": _text(name)}
        | {"showarrow": False, "xanchor": "right", "yanchor": "top", "font": {"size": 11}}
        for x, name in limits
    ]
    return {"data": [_trace(series) for series in chart.series], "layout": layout}


def _exponent(x: float, chart: Chart) -> float:
    """Return plotly's coordinate of an annotation or range: log10 on a logarithmic axis."""
    return math.log10(x) if "x" in chart.logarithmic else x


def _trace(series: Series) -> dict[str, Any]:
    x = [_rounded(value) for value in series.x]
    y = [_text(one) if isinstance(one, str) else _rounded(one) for one in series.y]
    trace: dict[str, Any] = {"x": x, "y": y, "name": _text(series.name)}
    trace |= {"showlegend": bool(series.name), "opacity": series.opacity}
    if series.hover:
        trace |= {"text": [_text(words) for words in series.hover], "hoverinfo": "text"}
    if series.marks == "bars":
        trace |= {"type": "bar", "orientation": "h", "marker": {"color": series.color}}
    else:
        trace |= {"type": "scatter", "mode": _MODES[series.marks]}
        trace["line"] = {"color": series.color, "width": series.size}
        if series.marks == "steps":
            trace["line"]["shape"] = "hv"
        if series.marks == "points":
            symbol = _SYMBOLS.get(series.symbol, series.symbol)
            trace["marker"] = {"color": series.color, "size": series.size, "symbol": symbol}
    if series.right:
        trace["yaxis"] = "y2"
    if series.errors:
        side = "error_x" if series.marks == "bars" else "error_y"
        trace[side] = {"type": "data", "array": [_rounded(one) for one in series.errors]}
        trace[side] |= {"thickness": 1.2, "color": "#555"}
    return trace


def _parallel(figure: Parallel) -> dict[str, Any]:
    dimensions = []
    for one in figure.coordinates:
        dimension: dict[str, Any] = {
            "label": _text(one.name),
            "values": [_rounded(value) for value in one.values],
        }
        if one.ticks:
            dimension |= {
                "tickvals": [_rounded(place) for place, _ in one.ticks],
                "ticktext": [_text(words) for _, words in one.ticks],
                "range": [-0.15 if one.ticks[0][0] < 0 else 0, 1],
            }
        dimensions.append(dimension)
    color = dimensions[-1]["values"]
    line = {"color": color, "colorscale": "Viridis", "showscale": True, "reversescale": False}
    trace = {"type": "parcoords", "dimensions": dimensions, "line": line}
    layout = _layout(440)
    layout["margin"] = {"l": 70, "r": 40, "t": 60, "b": 30}
    return {"data": [trace], "layout": layout}


def _layout(height: int) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 70, "r": 25, "t": 45, "b": 55},
        "font": _FONT,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
    }


def _rounded(value: Any) -> float | None:
    """Return a number with six significant digits, which keeps the page small; None if infinite."""
    found = float(f"{float(value):.6g}")
    return found if abs(found) != float("inf") and found == found else None


def _text(words: str) -> str:
    """Return text with HTML escaped, since plotly interprets tags."""
    return html.escape(words, quote=False).replace("\n", "<br>")
