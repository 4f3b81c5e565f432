"""``evonas search``: from an experiment to best.json."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from evonas.api.live_view import LiveView
from evonas.api.search import search
from evonas.api.search_result import SearchResult
from evonas.core.experiment import Experiment


class SearchPrinter(LiveView):
    """Prints a search, and what comes next."""

    def on_end(self, result: SearchResult) -> None:
        """Say how to go on from a search."""
        super().on_end(result)
        if not result.experiment.table:
            self.console.print(f"Next: evonas retrain {result.best_file}", soft_wrap=True)


def run(
    experiment: Experiment | None,
    folder: Path | None,
    resume: bool,
    console: Console,
    begin_with: Path | None = None,
) -> Path:
    """Search, print what happens, and return the path of best.json.

    Args:
        experiment: what to search; None: that of the run that goes on.
        folder: of the run; a free one below ``runs`` if left out.
        resume: whether to go on with the run that is there.
        console: where to print.
        begin_with: folder of another run, whose results this one begins with.

    Raises:
        InputError: the experiment or the run directory is not usable.
        KeyboardInterrupt: the person stopped it; the message says how to go on.
    """
    with SearchPrinter(console) as view:
        result = search(
            experiment, run_dir=folder, callbacks=[view], resume=resume, warm_start=begin_with
        )
    return result.best_file
