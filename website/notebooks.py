"""Notebooks: percent scripts of ``docs/notebooks``, executed and turned into pages of the site.

``python -m website.notebooks`` executes those that have changed, or whose results are missing; ``mkdocs build`` shows
what was executed, and of the others the code alone. Executed notebooks are no part of the repository: pictures and
tables of a tenth of a megabyte each would change with every version of a library, and say nothing that the next build
does not.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import jupytext
import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbformat import NotebookNode
from traitlets.config import Config

__all__ = ["execute", "page", "sources"]

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "notebooks"
DONE = ROOT / "build" / "notebooks"

LIMIT = 600
"""Seconds that a cell may take."""


def sources() -> list[Path]:
    """The scripts."""
    return sorted(FOLDER.glob("*.py"))


def execute(source: Path) -> float:
    """Executes a notebook in an empty folder and keeps it; returns the seconds of processor time it took."""
    notebook, begun = jupytext.read(source), _spent()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    settings = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    settings["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm's bar, which Pyro imports and nothing shows
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder, patch.dict(os.environ, settings):
        # The kernel listens on sockets in the file system, and on no port.
        config = Config({"KernelManager": {"transport": "ipc", "ip": os.path.join(folder, "kernel")}})
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, config=config, timeout=LIMIT, startup_timeout=LIMIT, resources=place).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    DONE.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, _done(source))
    return _spent() - begun


def page(source: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures and the notebook itself by their paths beside it."""
    done = _done(source)
    notebook = nbformat.read(done, as_version=4) if done.exists() else jupytext.read(source)
    for cell in notebook.cells:
        cell["outputs"] = _joined([_shown(output) for output in cell.get("outputs", []) if not _is_empty(output)])
        if cell.cell_type != "code":
            del cell["outputs"]
    text, resources = MarkdownExporter().from_notebook_node(notebook)
    pictures = {f"{source.stem}/{name}": content for name, content in resources["outputs"].items()}
    for name in resources["outputs"]:
        text = text.replace(f"]({name})", f"]({source.stem}/{name})")
    head, _, rest = text.lstrip().partition("\n")
    link = f"[Download the notebook]({source.stem}.ipynb)" if done.exists() else "Not executed in this build."
    files = {f"{source.stem}.ipynb": done.read_bytes()} if done.exists() else {}
    return f"{head}\n\n{link}\n{rest}", pictures | files


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _done(source: Path) -> Path:
    return DONE / f"{source.stem}.ipynb"


def _digest(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()


def _is_empty(output: NotebookNode) -> bool:
    return output.get("data", {}).get("text/html") == ""


def _shown(output: NotebookNode) -> NotebookNode:
    """An output with the one form that the page shows: a picture or table instead of text, text in a block."""
    data = output.get("data", {})
    for kind in ("image/png", "text/html"):
        if kind in data:
            output["data"] = {kind: data[kind].replace('<table border="1" class="dataframe">', "<table>")}
            break
    return output


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """The outputs, lines that were printed one after the other as one."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def main() -> None:
    """Executes the notebooks whose scripts have changed; ``--all`` those, too, that have not."""
    for source in sources():
        mark = DONE / f"{source.stem}.sha256"
        if "--all" not in sys.argv and _done(source).exists() and mark.exists() and mark.read_text() == _digest(source):
            continue
        print(f"{source.stem}: {execute(source):.0f} s of processor time", flush=True)
        mark.write_text(_digest(source))


if __name__ == "__main__":
    main()
