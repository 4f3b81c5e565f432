"""Run a notebook's cells again, in a new kernel, and keep what they show.

python experiments/notebooks/run.py experiments/notebooks/quickstart.ipynb
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

#: Names of cells and kernels that say nothing, so that running twice changes no more than times.
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main() -> None:
    """Run the notebook that is named, in a temporary folder, and write it back."""
    path = Path(sys.argv[1])
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}})
        client.execute()
    nbformat.write(cleaned(notebook), path)
    print(f"written: {path}")


def cleaned(notebook: Any) -> Any:
    """Return the notebook without what tells when and where it ran."""
    notebook.metadata = nbformat.from_dict(_METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    return notebook


if __name__ == "__main__":
    main()
