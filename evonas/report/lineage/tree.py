"""Parents and children among the networks of a search, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evonas.runs.finals import rank_finalists
from evonas.runs.run_store import Trial

_HAVE_A_PLACE = ("ok", "stopped", "earlier")
_CLIP = 20  # characters of a gene's value on a label

#: Name of a setting, value in the parent, value in the child; None: no such setting.
Change = tuple[str, Any, Any]


@dataclass(frozen=True)
class Family:
    """The networks of a search and their parents.

    Attributes:
        networks: digest -> trial of each distinct network with a fitness, in order, also of those
            from an earlier run.
        parents: digest of a child -> digest of its parent; both are in ``networks``.
        failed: trainings that failed.
        winner: digest of the winner; empty if there is none.
    """

    networks: Mapping[str, Trial]
    parents: Mapping[str, str]
    failed: Sequence[Trial]
    winner: str

    @classmethod
    def of(cls, trials: Sequence[Trial], winner: str = "") -> Family:
        """Return the family of the trials of a journal.

        Args:
            trials: of the search.
            winner: its digest; if empty or unknown, that of the finals or of the lowest fitness.
        """
        networks: dict[str, Trial] = {}
        for trial in trials:
            if trial.status in _HAVE_A_PLACE and trial.fitness is not None:
                networks.setdefault(trial.digest, trial)
        parents = {
            digest: trial.parent
            for digest, trial in networks.items()
            if trial.parent in networks and trial.parent != digest
        }
        failed = [trial for trial in trials if trial.status == "failed"]
        if winner not in networks:
            winner = next((one.trial.digest for one in rank_finalists(trials)), "")
        return cls(networks, parents, failed, winner)

    @property
    def lowest(self) -> str:
        """Digest of the lowest fitness in the search itself; empty if there is none."""
        known = [trial for trial in self.networks.values() if trial.succeeded]
        return min(known, key=lambda trial: trial.value).digest if known else ""

    def descent(self, digest: str = "") -> list[Trial]:
        """Return the line of descent of a network, from its first ancestor to itself.

        Args:
            digest: of the network; the winner if empty.
        """
        line: dict[str, Trial] = {}
        at = digest or self.winner
        while at in self.networks and at not in line:  # no endless loop in a damaged journal
            line[at] = self.networks[at]
            at = self.parents.get(at, "")
        return list(line.values())[::-1]

    def families(self) -> dict[str, list[Trial]]:
        """Return digest of a first ancestor -> this ancestor and its descendants, in order."""
        founders: dict[str, str] = {}
        found: dict[str, list[Trial]] = {}
        for digest, trial in self.networks.items():
            path = [digest]
            while path[-1] not in founders and self.parents.get(path[-1], path[0]) not in path:
                path.append(self.parents[path[-1]])
            founder = founders.get(path[-1], path[-1])
            founders |= dict.fromkeys(path, founder)
            found.setdefault(founder, []).append(trial)
        return found


def changes(parent: Trial, child: Trial) -> list[Change]:
    """Return the settings that differ between parent and child, in the order of the child."""
    before, after = _genes(parent), _genes(child)
    return [
        (gene, before.get(gene), after.get(gene))
        for gene in {**after, **before}
        if before.get(gene) != after.get(gene)
    ]


def step(parent: Trial, child: Trial, named: int = 2) -> str:
    """Return the first ``named`` changes from parent to child as text, and the number of others."""
    found = changes(parent, child)
    words = [f"{gene}: {_value(old)} → {_value(new)}" for gene, old, new in found[:named]]
    if len(found) > named:
        words.append(f"+{len(found) - named}" if words else f"{len(found)} changed")
    return ", ".join(words) or "the same settings"


def _genes(trial: Trial) -> dict[str, Any]:
    plain = trial.architecture
    return {"network": plain.get("network"), **plain.get("settings", {})}


def _value(value: Any) -> str:
    text = "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return clipped(text, _CLIP)


def clipped(text: str, most: int) -> str:
    """Return a text, shortened to at most ``most`` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
