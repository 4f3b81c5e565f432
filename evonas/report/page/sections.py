"""Sections of the page of one run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import yaml

from evonas.report.page import gene_charts as genes
from evonas.report.page import run_charts
from evonas.report.page import run_tables as facts
from evonas.report.page.charts import Figure
from evonas.report.page.network_diagram import network
from evonas.report.page.run_data import Run, portable
from evonas.report.tables import Table


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        key, title: of the section.
        lines: sentences.
        tables, figures: in this order.
        drawings: trusted SVG, made by this package.
        text: preformatted text.
        folded: whether the section is collapsed at first.
    """

    key: str
    title: str
    lines: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    drawings: Sequence[str] = ()
    text: str = ""
    folded: bool = False


def figures(run: Run) -> list[Figure]:
    """Return all charts of a run."""
    return [*run_charts.all_charts(run), *genes.figures(run)]


def of_run(run: Run, pedigree: str) -> Iterable[Section]:
    """Yield the sections of a run; one without data gives the reason.

    Args:
        run: the run.
        pedigree: SVG of the lineage figure; empty if there is none.
    """
    drawn = {one.key: one for one in run_charts.all_charts(run)}

    def those(*keys: str) -> list[Figure]:
        return [drawn[key] for key in keys if key in drawn]

    yield Section("outcome", "What came out", list(facts.sentences(run)), _outcome_tables(run))
    yield Section("progress", "Progress", figures=those("progress", "progress_by_time"))
    trade = those("trade_off", "trade_off_latency")
    yield Section("trade-off", "Error against cost", tables=[facts.front(run)], figures=trade)
    yield Section(
        "winner",
        "The winner, block by block",
        [] if run.best.get("blocks") else [_no_blocks(run)],
        [table for table in [facts.blocks(run)] if table],
        drawings=[network(run, "svg").decode()] if run.best.get("blocks") else [],
    )
    few = genes.few(run)
    yield Section("genes", "The genes", [few] if few else [], figures=list(genes.figures(run)))
    none = "Nobody was made from anybody in this search: no lineage."
    drawings = [pedigree] if pedigree else []
    yield Section("lineage", "Lineage", [] if pedigree else [none], drawings=drawings)
    curves = those("curves", "learning", "learning_retrained")
    missing = ["The journal of this run holds no training curves."]
    yield Section("training", "Training", [] if curves else missing, figures=curves)
    tables = [table for table in (facts.counts(run), facts.failures(run)) if table]
    yield Section(
        "work", "Trials, failures, use of the workers", (), tables, those("utilisation", "failures")
    )
    resolved = yaml.safe_dump(portable(dict(run.experiment)), sort_keys=False, allow_unicode=True)
    yield Section(
        "again",
        "How to make it again",
        ["With the folder of the run beside, and where the data lie put for the dots:"],
        [facts.origin(run)],
        text="\n".join(facts.again(run)),
    )
    yield Section("experiment", "The experiment, resolved", text=resolved, folded=True)


def _no_blocks(run: Run) -> str:
    if run.replayed:
        return "The answers came from a table: there is no network to draw."
    return "No file of this run tells the winner's blocks."


def _outcome_tables(run: Run) -> list[Table]:
    found = (facts.contenders(run), facts.retrained(run), *facts.tested(run))
    return [table for table in found if table]
