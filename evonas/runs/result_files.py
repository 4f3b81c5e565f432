"""Content of best.json and front.json: the winner and the Pareto front of a search."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from evonas.core.files import read_json
from evonas.errors import InputError, nearest
from evonas.estimation.objective import Objective
from evonas.runs import file_schemas
from evonas.runs.file_schemas import (
    FORMAT,
    BackboneCost,
    Best,
    Block,
    Chosen,
    FinalistEntry,
    Front,
    FrontNetwork,
    Latency,
    Network,
    SearchFile,
    checked,
)
from evonas.runs.finals import Finalist
from evonas.runs.pareto import knee, nondominated
from evonas.runs.run_store import Trial, read_journal
from evonas.space import Architecture

#: ``--pick`` of one network of a front, and of any network that the search trained.
RULES = "knee, cheapest:ERROR or best:MACS"
PICKS = f"{RULES}, or the first digits of a digest"
_DIGEST = re.compile("[0-9a-f]{1,16}")


_WHAT = "a best.json or front.json"
_FOLLOWED = ("architecture", "experiment", "digest", "seed")  # what a retraining needs
_EVALUATED = ("fitness", "macs", "params", "metrics")  # of each network of a result
_SUFFIXES = {"k": 1e3, "M": 1e6, "G": 1e9}


def best(
    finalists: Sequence[Finalist],
    statistically_tied: Sequence[Finalist],
    common: SearchFile,
    blocks: Sequence[Block] = (),
    backbone_cost: BackboneCost | None = None,
) -> Best:
    """Return the content of best.json.

    Args:
        finalists: the winner first.
        statistically_tied: cheaper networks that are statistically tied with the winner.
        common: keys that both files share.
        blocks: of the winner.
        backbone_cost: cost of the backbone that the winner stands on; None: not known.
    """
    winner = finalists[0]
    return {
        "format": FORMAT,
        **_network(winner.trial),
        "fitness": winner.fitness,
        "metrics": winner.metrics(),
        "spread": winner.spread(),
        "seeds": max(len(winner.further), 1),
        "searched": {"fitness": winner.trial.value, "metrics": dict(winner.trial.metrics)},
        "finalists": [_standing(finalist) for finalist in finalists],
        "as_good_and_cheaper": [_standing(finalist) for finalist in statistically_tied],
        **common,
        "blocks": list(blocks),
        "backbone_cost": backbone_cost,
    }


def front(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """Return the trials that no other dominates on the objective's axes, the cheapest first."""
    known = list({trial.digest: trial for trial in trials if trial.succeeded}.values())
    if not known:
        return []
    points = np.array([objective.axes(trial) for trial in known])
    kept = [known[i] for i in nondominated(points)]
    return sorted(
        kept,
        key=lambda trial: (
            objective.counted(trial, trial.architecture)[0],
            trial.metrics[objective.metric],
        ),
    )


def front_file(trials: Sequence[Trial], objective: Objective, common: SearchFile) -> Front:
    """Return the content of front.json.

    Args:
        trials: of the front, in order.
        objective: its axes are those of the front.
        common: keys that both files share.
    """
    networks: list[FrontNetwork] = []
    for trial in trials:
        axes = dict(zip(objective.settings.axes, objective.axes(trial), strict=True))
        networks.append({**_network(trial), "axes": axes})
    return {
        "format": FORMAT,
        "axes": list(objective.settings.axes),
        "note": "errors are of one short training each; the best of many are lucky too",
        "front": networks,
        **common,
    }


def read(path: Path, pick: str = "") -> Chosen:
    """Return a network of a best.json or front.json, with its experiment and fingerprints.

    Args:
        path: the file.
        pick: which network of a front; or the digest, or its first digits, of a network in the
            journal beside the file; empty for a best.json.

    Raises:
        InputError: the file is missing, damaged, of another format version, or no network
            is as ``pick`` asks.
    """
    found: Any = file_schemas.read(path, Front, _WHAT)
    if is_digest(pick):
        shared = {key: found[key] for key in SearchFile.__annotations__ if key in found}
        found = {**shared, **_network(_with_digest(path.parent, pick))}
    elif "front" in found:
        found = {**found, **_picked(path, found, pick)}
    elif pick:
        raise InputError(
            f"{path}: --pick {pick} chooses from a front.json, and this holds one network"
        )
    content = checked(found, Chosen, path, _FOLLOWED)
    if Architecture.from_dict(content["architecture"]).digest != content["digest"]:
        raise InputError(f"{path}: the digest does not fit the architecture: the file was changed")
    return content


def is_digest(pick: str) -> bool:
    """Whether ``--pick`` names a network by its digest, or the first digits of it."""
    return _DIGEST.fullmatch(pick) is not None


def _with_digest(run: Path, digits: str) -> Trial:
    """Return the trial of the network whose digest begins with the digits.

    Raises:
        InputError: no trained network has such a digest, or several have.
    """
    known = {one.digest: one for one in read_journal(run) if one.succeeded}
    found = [digest for digest in known if digest.startswith(digits)]
    if not found:
        raise InputError(
            f"--pick {digits}: {run} trained no network with such a digest: "
            f"{nearest(digits, known)}"
        )
    if len(found) > 1:
        raise InputError(
            f"--pick {digits}: {len(found)} networks of {run} begin so: {', '.join(found[:3])}"
            f"{', ...' if len(found) > 3 else ''}: give more digits"
        )
    return known[found[0]]


def networks(path: Path) -> list[Best]:
    """Return the networks of a best.json (the winner alone) or a front.json, checked.

    Raises:
        InputError: the file is missing, damaged, or of another format version.
    """
    content = read_json(path)
    listed = content["front"] if isinstance(content.get("front"), list) else [read(path)]
    for one in listed:
        if not isinstance(one, dict):
            raise InputError(f"{path}: expected networks in 'front', got {one!r}: restore the file")
        checked(one, Best, path, _EVALUATED)
        try:
            Architecture.check(one.get("architecture"))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return listed


def _picked(path: Path, content: Front, pick: str) -> FrontNetwork:
    """Return one network of a front."""
    if not pick:
        raise InputError(f"{path}: a front holds several networks: choose with --pick {PICKS}")
    try:
        networks = cast(list[FrontNetwork], list(content["front"]))
        points = np.array([[float(n["axes"][a]) for a in content["axes"]] for n in networks])
        errors = np.array([float(network["axes"]["error"]) for network in networks])
        macs = np.array([int(network["macs"]) for network in networks])
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: is no front of evonas ({error}): restore the file") from error
    if not networks:
        raise InputError(f"{path}: the front is empty: no network was trained successfully")
    rule, _, text = pick.partition(":")
    if rule == "knee" and not text:
        return networks[knee(points)]
    if rule not in ("cheapest", "best") or not text:
        raise InputError(f"--pick {pick}: expected {PICKS}")
    limit = _number(text, pick)
    measured, aim = (errors, macs) if rule == "cheapest" else (macs, errors)
    within = np.flatnonzero(measured <= limit)
    if len(within) == 0:
        what = "error" if rule == "cheapest" else "number of multiply-adds"
        raise InputError(
            f"--pick {pick}: no network of {path} has this {what}: the lowest is {measured.min():g}"
        )
    return networks[int(within[np.argmin(aim[within])])]


def _number(text: str, pick: str) -> float:
    factor = _SUFFIXES.get(text[-1:], 1.0)
    try:
        number = float(text.removesuffix(text[-1]) if factor != 1.0 else text) * factor
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"--pick {pick}: expected a number after the colon, such as 7.5 or 1.2M")
    return number


def _network(trial: Trial) -> Network:
    return {
        "genome": list(trial.genome),
        "architecture": {**trial.architecture},
        "digest": trial.digest,
        "fitness": trial.value,
        "macs": trial.macs,
        "flops": 2 * trial.macs,
        "params": trial.params,
        **_latency(trial),
        "cost_scope": "head network at batch 1; flops = 2 x multiply-adds",
        "metrics": dict(trial.metrics),
    }


def _latency(trial: Trial) -> Latency:
    if not trial.latency:
        return {}
    return {"latency_ms": trial.latency, "latency_noise": trial.latency_noise}


def _standing(finalist: Finalist) -> FinalistEntry:
    return {
        "digest": finalist.trial.digest,
        "architecture": dict(finalist.trial.architecture),
        "macs": finalist.trial.macs,
        **_latency(finalist.trial),
        "fitness": finalist.fitness,
        "metrics": finalist.metrics(),
        "spread": finalist.spread(),
        "further_seeds": len(finalist.further),
    }
