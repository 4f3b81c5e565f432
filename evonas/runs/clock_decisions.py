"""Decisions of the clock: lines of the journal of a search that has a budget in minutes.

Everything else in a journal follows from the seed. How many trainings fit the minutes does not, so
it is written down before it takes effect, and a resumed run does what is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from evonas.runs.trial import Number, Whole

Stage = Literal["search", "finals", "baselines"]
_PREFIX = b'{"clock":'  # of such a line; a trial has no such key


class ClockDecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number of trainings that fit into the minutes that are left.

    Attributes:
        clock: the stage.
        minutes: of the whole search, when it was decided.
        ask: number of the ask, of the stage ``search``: of this ask, ``fits`` new networks are
            trained.
        trained: distinct networks that were trained before.
        fits: trainings.
        at: seconds that the run had been searching, over all its starts.
    """

    clock: Stage
    minutes: Number
    ask: Whole
    trained: Whole
    fits: Whole
    at: Number

    @staticmethod
    def from_line(line: bytes) -> ClockDecision | None:
        """Return the decision of a line of the journal; None for a line of another kind.

        Raises:
            ValueError: the line begins as a decision and is none.
        """
        return _decode(line) if line.startswith(_PREFIX) else None

    def line(self) -> str:
        """Return the line of the journal, without its end."""
        return json.dumps(msgspec.structs.asdict(self))


def standing(
    decisions: Iterable[ClockDecision], stage: Stage, minutes: float | None
) -> list[ClockDecision]:
    """Return the decisions of a stage that hold, in order.

    More minutes make room for more: what was decided under fewer than now, or under fewer than a
    later decision, holds no longer.

    Args:
        decisions: of a journal, in its order.
        stage: the stage.
        minutes: of the whole search now; None: it has no clock.
    """
    held: list[ClockDecision] = []
    for one in decisions if minutes is not None else ():
        if one.clock == stage:
            held = [*(other for other in held if other.minutes >= one.minutes), one]
    return [one for one in held if minutes is not None and one.minutes >= minutes]


_decode: Any = msgspec.json.Decoder(ClockDecision).decode
