"""Taps that a probe recommends, in probe.json, and ``tap=@probe.json`` in an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evonas.core.files import read_json
from evonas.errors import InputError

#: Begins a value that is the name of a probe.json.
SIGN = "@"
_FORMAT = 1


def header(ranked: Sequence[str], taps: Sequence[str], keep: int) -> dict[str, Any]:
    """Return what ``resolved`` reads of a probe.json.

    Args:
        ranked: taps, the best first.
        taps: the same from input to output.
        keep: how many to recommend.
    """
    return {"format": _FORMAT, "taps": list(ranked[:keep]), "order": list(taps)}


def resolved(data: Any) -> Any:
    """Return an experiment's plain data with the taps of ``@probe.json`` written out.

    ``space.tap`` becomes all that are recommended, from input to output, as a gene that has
    an order wants them; ``tap`` the best one. What a run stores are then taps, so it does
    not follow a file that changes later.

    Raises:
        InputError: such a file is missing, or is no probe.json.
    """
    if not isinstance(data, dict):
        return data
    found, space = dict(data), data.get("space")
    if _named(data.get("tap")):
        best, _ = _read("tap", data["tap"])
        found["tap"] = best[0]
    if isinstance(space, dict) and _named(space.get("tap")):
        best, order = _read("space.tap", space["tap"])
        found["space"] = {**space, "tap": sorted(best, key=order.index)}
    return found


def _named(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(SIGN)


def _read(key: str, value: str) -> tuple[list[str], list[str]]:
    """Return the recommended taps, the best first, and all from input to output."""
    path = Path(value.removeprefix(SIGN)).expanduser()
    try:
        content = read_json(path)
    except InputError as error:
        raise InputError(f"{key}={value}: {error.args[0]}: make it with `evonas probe`") from error
    taps, order = (content.get(name) for name in ("taps", "order"))
    if content.get("format") == _FORMAT and isinstance(taps, list) and isinstance(order, list):
        known = [tap for tap in taps if isinstance(tap, str) and tap in order]
        if taps and known == taps:
            return known, order
    raise InputError(
        f"{key}={value}: expected a probe.json of format {_FORMAT} with taps and their order: "
        f"make it with `evonas probe`"
    )
