"""Charts of genes: importance for the fitness, and parallel coordinates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from evonas.report.page import charts
from evonas.report.page.charts import Chart, Coordinate, Figure, Parallel, Series
from evonas.report.page.formatting import short, thinned
from evonas.report.page.gene_importance import LEAST, importance
from evonas.report.page.run_data import Run
from evonas.runs.run_store import Trial
from evonas.space.gene import Gene

_AXES = 9  # most genes in parallel coordinates
_LINES = 1000  # most networks in parallel coordinates
_BARS = 12  # most genes in the chart of importance
_SETTLED = 0.8  # share of a value from which a gene hardly varied
_SURE = 0.2  # explained variance below which the importance is meaningless


def figures(run: Run) -> Iterator[Figure]:
    """Yield charts of gene importance and of parallel coordinates of the most important genes."""
    if run.space is None:
        return
    known = [trial for trial in run.networks if trial.status in ("ok", "earlier")]
    known = thinned(known, _LINES)
    found = importance(run.space, known)
    order = list(found.genes) if found else []
    if found:
        text = f"A random forest on {len(known)} networks explains {100 * found.explained:.0f} % "
        text += "of the variance of log fitness in networks that it has not seen."
        if found.explained < _SURE:
            text += " That is too little: do not read anything into the order."
        means = [max(mean, 0.0) for mean in found.means[:_BARS]]
        bars = Series(
            "", means, found.genes[:_BARS], "bars", charts.BLUE, errors=found.spreads[:_BARS]
        )
        yield Chart(
            "importance",
            "Gene importance",
            "loss of explained variance without it, ± sd of 5 folds",
            "",
            [bars],
            wide=True,
            note=f"{text} A strategy looks closer where networks are good, so genes that it "
            f"settled early look less important than they are.{_hardly_varied(run, known)}",
        )
    genes = [gene for gene in run.space.genes if not (gene.values and len(gene.values) < 2)]
    genes.sort(key=lambda gene: order.index(gene.name) if gene.name in order else len(order))
    if len(known) > 1 and genes:
        yield _parallel(run, genes[:_AXES], len(genes), bool(found))


def _hardly_varied(run: Run, known: Sequence[Trial]) -> str:
    """Return a sentence on genes with one value in nearly all networks; empty if none has."""
    said = []
    for gene in run.space.genes if run.space else ():
        settings = (trial.architecture.get("settings", {}) for trial in known)
        tried = Counter(own[gene.name] for own in settings if gene.name in own)
        if len(gene.values) < 2 or not tried:
            continue
        (value, most), of = tried.most_common(1)[0], sum(tried.values())
        if most >= _SETTLED * of:
            values = f"{len(tried)} of {len(gene.values)} values tried"
            said.append(f"{gene.name} ({short(value)} in {most} of {of} networks, {values})")
    return f" Hardly varied, so their importance is not known: {', '.join(said)}." if said else ""


def few(run: Run) -> str:
    """Return the reason for missing gene importance; empty if it is there."""
    known = [trial for trial in run.networks if trial.status in ("ok", "earlier")]
    if len(known) >= LEAST:
        return ""
    return f"Gene importance needs {LEAST} networks with a result; so far there are {len(known)}."


def _parallel(run: Run, genes: list[Gene], count: int, ordered: bool) -> Parallel:
    known = [trial for trial in run.networks if trial.status in ("ok", "earlier")]
    known = sorted(thinned(known, _LINES), key=lambda trial: -trial.value)  # the best last
    coordinates = []
    for gene in genes:
        settings = [trial.architecture.get("settings", {}) for trial in known]
        places = [gene.encode(s[gene.name]) if gene.name in s else -0.12 for s in settings]
        ticks = [(gene.encode(value), short(value)) for value in gene.values]
        if not gene.values:
            ticks = [(x, short(gene.decode(x))) for x in (0.0, 0.5, 1.0)]
        if min(places) < 0:
            ticks = [(-0.12, "–"), *ticks]
        coordinates.append(Coordinate(gene.name, places, ticks))
    costs = np.array([trial.macs / 1e6 for trial in known])
    coordinates.append(Coordinate("M multiply-adds", costs.tolist()))
    values = np.array([trial.value for trial in known])
    capped = np.minimum(values, float(np.quantile(values, 0.9)))
    coordinates.append(Coordinate("fitness", capped.tolist()))
    shown = (
        f"the {len(genes)} of {count} genes {'that matter most' if ordered else 'that come first'}"
    )
    note = f"A line is a network, of {shown}; – : the gene does not count there. "
    return Parallel(
        "parallel",
        "Parallel coordinates",
        coordinates,
        note + "The worst tenth is drawn at the fitness of the best of them.",
    )
