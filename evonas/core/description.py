"""Description of an experiment before training: sizes, costs and limits as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = str | int | float | bool
_SHOWN = 8  # values of a gene that are listed
_BYTES = 2  # of a cached value, in 16 bits


@dataclass(frozen=True)
class GeneDescription:
    """A gene of the search space.

    Attributes:
        name: of the setting that the gene decides.
        kind: ``choice``, ``ordinal``, ``integer`` or ``log_float``.
        values: its values in order; of a ``log_float`` the two ends of its range.
        when: earlier gene -> the values with which this gene counts; empty: it always does.
    """

    name: str
    kind: str
    values: tuple[Value, ...]
    when: Mapping[str, tuple[Value, ...]]

    def __str__(self) -> str:
        if self.kind in ("integer", "log_float"):
            text = f"{self.values[0]} to {self.values[-1]}"
        else:
            text = ", ".join(map(str, self.values[:_SHOWN]))
            text += f" and {len(self.values) - _SHOWN} more" if len(self.values) > _SHOWN else ""
        conditions = [f"{name} = {_either(values)}" for name, values in self.when.items()]
        return text + (f"; only with {' and '.join(conditions)}" if conditions else "")


@dataclass(frozen=True)
class CostRange:
    """A cost over the networks of a search space.

    Attributes:
        least, median, largest: of the sampled networks; least and largest also of the two
            networks with the fewest and the most multiply-adds, which are found by changing one
            gene at a time from the extremes of the sample.
        samples: number of random genomes behind the median.
    """

    least: int
    median: int
    largest: int
    samples: int


@dataclass(frozen=True)
class GeneEffect:
    """How much the values of one gene change the share of networks within the limit.

    Attributes:
        gene: its name.
        shares: value (of a ``log_float``: a quarter of its range) -> share in [0, 1] of the
            sampled networks with this value that are within the limit.
    """

    gene: str
    shares: Mapping[str, float]

    def __str__(self) -> str:
        low, high = min(self.shares, key=self._share), max(self.shares, key=self._share)
        return (
            f"{self.gene} excludes most: {_percent(self.shares[low])} of the networks with "
            f"{self.gene} = {low} fit, {_percent(self.shares[high])} with {self.gene} = {high}"
        )

    @property
    def spread(self) -> float:
        """Difference between the largest and the least share."""
        return max(self.shares.values()) - min(self.shares.values())

    def _share(self, value: str) -> float:
        return self.shares[value]


@dataclass(frozen=True)
class CachePlan:
    """What the feature cache takes.

    Attributes:
        folder: of the cache.
        views: names of the cached views.
        images: of the data set.
        taps: tap -> (channels, height, width) of its map.
        present: bytes of these features that the folder holds already.
    """

    folder: str
    views: tuple[str, ...]
    images: int
    taps: Mapping[str, tuple[int, int, int]]
    present: int

    @property
    def bytes(self) -> int:
        """Bytes of all maps: views x images x values of the taps' maps x 2."""
        values = sum(c * h * w for c, h, w in self.taps.values())
        return len(self.views) * self.images * values * _BYTES


@dataclass(frozen=True)
class ExperimentDescription:
    """What an experiment is going to do; ``str`` of it is what ``evonas validate`` prints.

    Attributes:
        name: of the experiment.
        space: name of the search space.
        network: network family of the space.
        architectures: number of architectures; an upper bound where genes have a ``when``, and
            infinite with a ``log_float``.
        genes: of the space, in the order of the genome.
        macs: multiply-adds of a head network for one image.
        params: parameters of a head network; None where a table does not say.
        max_macs: limit on the multiply-adds; None: there is none.
        share: of the sampled networks that are within all limits, in [0, 1].
        excluding: the gene whose values change that share most; None where all networks fit, or
            no gene matters.
        images: split -> number of its images; empty for a table.
        cache: what the feature cache takes; None for a table.
        trainings: networks that the search trains, by why they are trained; 0: their number is
            limited by ``minutes`` alone.
        epochs: of each of these trainings; 0 for a table.
        warnings: lines to read before a search.
        counts: whether the limits count the ``head`` or the ``total`` of head and backbone.
        limits: limits that are known without training or measuring, ``max_macs`` included: name
            -> largest value.
        alone: name of such a limit -> share of the sampled networks within it.
        max_ms: limit on the latency, which is measured before each training; None: there is none.
        minutes: limit on the whole search; None: there is none.
    """

    name: str
    space: str
    network: str
    architectures: float
    genes: tuple[GeneDescription, ...]
    macs: CostRange
    params: CostRange | None
    max_macs: int | None
    share: float
    excluding: GeneEffect | None
    images: Mapping[str, int]
    cache: CachePlan | None
    trainings: Mapping[str, int]
    epochs: int
    warnings: tuple[str, ...] = ()
    counts: str = "head"
    limits: Mapping[str, float] = field(default_factory=dict)
    alone: Mapping[str, float] = field(default_factory=dict)
    max_ms: float | None = None
    minutes: float | None = None

    def __str__(self) -> str:
        wide = max(len(gene.name) for gene in self.genes)
        kinds = max(len(gene.kind) for gene in self.genes)
        lines = [
            f"{self.name}: every value, file and part is usable; nothing was trained",
            f"space: {self.space}, {len(self.genes)} genes, at most {self.architectures:.3g} "
            f"architectures of network {self.network}",
            *(f"  {g.name:{wide}}  {g.kind:{kinds}}  {g}" for g in self.genes),
            "cost of a head network: least, median, largest",
            *(f"  {line}" for line in self._costs()),
            *self._limits(),
        ]
        if self.excluding is not None:
            lines.append(f"  {self.excluding}")
        if self.images:
            sides = ", ".join(f"{count:,} {side}" for side, count in self.images.items())
            lines.append(f"images: {sides}")
        if self.cache is not None:
            lines += self._features(self.cache)
        total = sum(self.trainings.values())
        parts = ", ".join(f"{count:,} {why}" for why, count in self.trainings.items() if count)
        epochs = f", {self.epochs} epochs each" if self.epochs else ""
        number = f"{total:,}"
        if self.minutes is not None:
            most = f"{number} at most, " if next(iter(self.trainings.values())) else ""
            number = f"{most}as many as fit {self.minutes:g} min"
        lines.append(f"trainings: {number}{epochs}{f': {parts}' if parts else ''}")
        return "\n".join([*lines, *self.warnings])

    def _costs(self) -> list[str]:
        found = []
        for name, cost in (("multiply-adds", self.macs), ("parameters", self.params)):
            if cost is not None:
                values = f"{cost.least:,}, {cost.median:,}, {cost.largest:,}"
                found.append(f"{name}: {values} ({cost.samples:,} random genomes)")
        return found

    def _limits(self) -> list[str]:
        whose = " of head and backbone up to its tap" if self.counts == "total" else ""
        lines = []
        if len(self.limits) > 1 or self.limits.keys() - {"max_macs"}:
            alone = [
                f"{_percent(self.alone[name])} within {name}={limit:,.15g}"
                for name, limit in self.limits.items()
            ]
            lines += [
                f"limits{whose}: {_percent(self.share)} of random genomes are within all of them: "
                f"{', '.join(alone)} (objective)"
            ]
        elif self.max_macs is not None:
            lines.append(
                f"limit: {_percent(self.share)} of random genomes are within {self.max_macs:,} "
                f"multiply-adds{whose} (objective.max_macs)"
            )
        if self.max_ms is not None:
            lines.append(
                f"limit: {self.max_ms:g} ms of a head network, measured before each training "
                "(objective.max_ms)"
            )
        none = "limit: none on multiply-adds (objective.max_macs): all networks are trained"
        return lines or [none]

    @staticmethod
    def _features(cache: CachePlan) -> list[str]:
        shapes = [f"{tap} {'x'.join(map(str, shape))}" for tap, shape in cache.taps.items()]
        there = f", of which {size(cache.present)} are there already" if cache.present else ""
        return [
            f"taps: {', '.join(shapes)}",
            f"feature cache: {size(cache.bytes)} in {cache.folder} ({len(cache.views)} views x "
            f"{cache.images:,} images x these maps x {_BYTES} bytes){there}",
        ]


def size(count: int) -> str:
    """Return a number of bytes in decimal units, such as ``1.23 GB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def _either(values: tuple[Value, ...]) -> str:
    *first, last = map(str, values)
    return f"{', '.join(first)} or {last}" if first else last


def _percent(share: float) -> str:
    """Return a share in percent; what is not 0 or 1 is not rounded to it."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    if 0.999 < share < 1:
        return "more than 99.9 %"
    return f"{100 * share:.3g} %"
