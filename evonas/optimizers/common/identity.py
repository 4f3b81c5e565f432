"""Which architecture a genome stands for, and whether it may be trained."""

from __future__ import annotations

from collections.abc import Mapping

from evonas.optimizers.common.arguments import Cost
from evonas.space import Genome, SearchSpace


class Identity:
    """Maps a genome to its digest and its cost violation: macs / max_macs - 1, or 0 if feasible.

    Args:
        space: the search space.
        macs: cost of an architecture in multiply-adds; None: everything is feasible.
        max_macs: limit on it; None: everything is feasible.
        met: digest -> violation of what was asked or learned; looked into, never written.

    Attributes:
        space: as given.
        met: as given.
        expected: a genome's bytes -> digest and multiply-adds, which spare it the decoding.
    """

    def __init__(
        self,
        space: SearchSpace,
        macs: Cost | None,
        max_macs: int | None,
        met: Mapping[str, float],
    ) -> None:
        self.space = space
        self.met = met
        self.expected: Mapping[bytes, tuple[str, int]] = {}
        self._macs = macs
        self._max_macs = max_macs

    def __call__(self, genome: Genome) -> tuple[str, float]:
        """Return digest and violation of a (dim,) genome."""
        if (known := self.expected.get(genome.tobytes())) is not None:
            digest, macs = known
            return digest, self._violation(macs)
        architecture = self.space.decode(genome)
        digest = architecture.digest
        if digest in self.met:
            return digest, self.met[digest]
        return digest, self._violation(self._macs(architecture) if self._macs else 0)

    def _violation(self, macs: int) -> float:
        return 0.0 if self._max_macs is None else max(0.0, macs / self._max_macs - 1.0)
