"""Text of trials and numbers, for hover texts and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.report.page.run_data import Run, portable
from evonas.runs.run_store import Trial

#: Most networks of a chart, which bounds the size of the page.
MOST = 2000
_CLIP = 40  # characters of a setting's value


def architecture(run: Run, trial: Trial) -> str:
    """Return digest, error, costs and settings of a network in several lines."""
    error = run.error_of(trial)
    lines = [f"{trial.digest}, generation {trial.generation} #{trial.index}"]
    if error is not None:
        lines.append(f"{run.error[0]} {error:.3f} {run.error[1]}, fitness {number(trial.value)}")
    cost = f"{millions(trial.macs)} M multiply-adds, {trial.params / 1e3:.1f} k parameters"
    lines.append(cost + (f", {trial.latency:.3f} ms" if trial.latency else ""))
    if trial.parent:
        lines.append(f"parent {trial.parent}, {100 * trial.inherited:.0f} % inherited")
    return "\n".join([*lines, *settings(trial.architecture)])


def line(run: Run, trial: Trial) -> str:
    """Return digest, error and cost of a network in one line."""
    error = run.error_of(trial)
    reached = "" if error is None else f", {run.error[0]} {error:.3f}"
    return f"{trial.digest}{reached}, {amount(trial.macs)} multiply-adds"


def thinned(trials: Sequence[Trial], most: int) -> list[Trial]:
    """Return at most ``most`` trials, in order: one third the best, the others evenly spaced."""
    if len(trials) <= most:
        return list(trials)
    best = sorted(range(len(trials)), key=lambda i: trials[i].value)[: most // 3]
    rest = sorted(set(range(len(trials))) - set(best))
    left = most - len(best)
    spread = {rest[i * len(rest) // left] for i in range(left)}
    return [trials[i] for i in sorted({*best, *spread})]


def settings(content: Mapping[str, Any]) -> list[str]:
    """Return the settings of an architecture, three per line."""
    words = [f"{key} {short(value)}" for key, value in content.get("settings", {}).items()]
    words = words or [str(content.get("network", ""))]
    return [", ".join(words[i : i + 3]) for i in range(0, len(words), 3)]


def short(value: Any) -> str:
    """Return a value as text of bounded length."""
    text = f"{value:g}" if isinstance(value, float) else str(portable(value))
    return text if len(text) <= _CLIP else f"{text[: _CLIP - 1]}…"


def number(value: float) -> str:
    """Return a number with four significant digits, from 10 000 on without decimals."""
    return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def millions(macs: float) -> str:
    """Return multiply-adds in millions with three significant digits."""
    return f"{macs / 1e6:.3g}" if macs < 1e9 else f"{macs / 1e6:.0f}"


def amount(count: float) -> str:
    """Return a number of operations or parameters: ``192``, ``131 k``, ``4.76 M``."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def kind_of(trial: Trial) -> str:
    """Return the kind of failure of a trial."""
    return trial.error.partition(":")[0].strip() or "unknown"


def top(values: NDArray[np.float64]) -> float | None:
    """Return the upper end of an axis that leaves out outliers; None if there are none."""
    low, most, high = float(values.min()), float(np.quantile(values, 0.9)), float(values.max())
    return most + 0.5 * (most - low) if high - low > 3 * (most - low) > 0 else None
