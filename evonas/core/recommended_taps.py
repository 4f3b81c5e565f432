"""Recommended taps in probe.json, and the value ``tap=@probe.json`` in an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evonas.core.files import read_json
from evonas.errors import InputError

#: Prefix of a value that is the path of a probe.json.
SIGN = "@"
_FORMAT = 1


def header(ranked: Sequence[str], taps: Sequence[str], keep: int) -> dict[str, Any]:
    """Return the keys of a probe.json that ``resolved`` reads.

    Args:
        ranked: taps, the best first.
        taps: the same taps, from input to output.
        keep: number of taps to recommend.
    """
    return {"format": _FORMAT, "taps": list(ranked[:keep]), "order": list(taps)}


def resolved(data: Any) -> Any:
    """Return the plain data of an experiment with ``@probe.json`` replaced by taps.

    ``space.tap`` becomes all recommended taps, from input to output, as an ordered gene needs
    them; ``tap`` becomes the best one. A run stores the taps, so that it does not depend on later
    changes of the file.

    Raises:
        InputError: the file is missing, or is not a probe.json.
    """
    if not isinstance(data, dict):
        return data
    result, space = dict(data), data.get("space")
    if _is_reference(data.get("tap")):
        best, _ = _read("tap", data["tap"])
        result["tap"] = best[0]
    if isinstance(space, dict) and _is_reference(space.get("tap")):
        best, order = _read("space.tap", space["tap"])
        result["space"] = {**space, "tap": sorted(best, key=order.index)}
    return result


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(SIGN)


def _read(key: str, value: str) -> tuple[list[str], list[str]]:
    """Return the recommended taps, the best first, and all taps from input to output."""
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
