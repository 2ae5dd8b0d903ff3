"""Model, guide and test of a new pair, as files to edit."""

from __future__ import annotations

import json
import keyword
import re
import shlex
import sys
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Literal, get_args

from ppl_vae.data.files import atomic_write
from ppl_vae.data.load import find_reader
from ppl_vae.plugins.nearest import nearest
from ppl_vae.runs.new.examples import EXAMPLES
from ppl_vae.runs.new.table import Table

__all__ = ["KindOfData", "New", "new"]

KindOfData = Literal["documents", "counts", "points", "images", "table"]

TEMPLATES = Path(__file__).parent / "templates"

TESTS = {
    "points": ("a_point", "Model(shape=x.shape[1:])"),
    "images": ("an_image", "Model(shape=x.shape[1:])"),
    "counts": ("a_datum", "Model(data_mean=x.mean(0), shape=x.shape[1:])"),
    "documents": (
        "a_document",
        "Model(vocabulary=x.vocabulary, unigram=torch.full((x.vocabulary,), 1 / x.vocabulary))",
    ),
}
"""What a datum is called and how a model is built, in the tests of kinds of data that share those of points."""


@dataclass(frozen=True)
class New:
    """The files of a new pair.

    Arguments:
        folder: Where they lie.
        files: The files and what they are, in the order in which to read them.
        commands: What to do next, in this order.
        left_out: Columns of a table that the model does not describe, and why.
    """

    folder: Path
    files: dict[Path, str]
    commands: tuple[str, ...]
    left_out: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        files = [{"file": str(file), "is": what} for file, what in self.files.items()]
        return {"folder": str(self.folder), "files": files, "commands": list(self.commands)} | (
            {"left_out": self.left_out} if self.left_out else {}
        )

    def __str__(self) -> str:
        width = max(len(str(file)) for file in self.files)
        lines = [f"  {file!s:{width}}  {what}" for file, what in self.files.items()]
        if self.left_out:
            lines += ["", "columns that the model leaves out:"]
            lines += [f"  {name}: {why}" for name, why in self.left_out.items()]
        return "\n".join(["written:", *lines, "", "next:", *(f"  {command}" for command in self.commands)])

    __repr__ = __str__


def new(name: str | Path, data: KindOfData = "points", data_file: str | Path | None = None) -> New:
    """Write a model, a guide and a test to begin with: short files, with a comment where there is a choice.

    They train, are measured and reported at once, on data that need no network. No file is ever overwritten.

    Arguments:
        name: Folder to make; its last part names the files: NAME.py, NAME_guide.py and test_NAME.py.
        data: What the data are: documents; counts, as of genes in cells; points, vectors of real numbers; images; or
            a table of columns of several kinds.
        data_file: Your own data, in a form that ppl-vae list corpora shows; of a table the model has a site for each
            column. Without it data of the package, or an example beside the files.

    Raises:
        ValueError: If the folder is there already, the name is no Python name or that of an installed package, there is
            no such kind of data, or no such file.
    """
    folder = Path(name)
    if data not in get_args(KindOfData):
        near = nearest(str(data), get_args(KindOfData))
        hint = f"did you mean {near[0]}? T" if near else "t"
        raise ValueError(
            f"there is no kind of data {data!r} (--data); {hint}here are {', '.join(get_args(KindOfData))}"
        )
    _check_name(folder)
    corpus = None if data_file is None else _checked_file(Path(data_file), data)
    stem = folder.name
    names = {"model": f"{stem}.py", "model_guide": f"{stem}_guide.py", "test_model": f"test_{stem}.py"}
    table = None if corpus is None or data != "table" else Table.read(Path(corpus))
    files = {folder / file: _written(_template(data, part, table), stem, corpus) for part, file in names.items()}
    # Without settings of its own pytest takes those of a project around, and may not find the model's file.
    files[folder / "pytest.ini"] = b"[pytest]\n"
    parts = ("the model, p(x, z)", "its guide, q(z | x)", "tests of both", "settings of the tests")
    kinds = dict(zip(files, parts, strict=True))
    if corpus is None and data in EXAMPLES:
        example, content = EXAMPLES[data]
        files[folder / example] = content()
        kinds[folder / example] = "example data"
    try:
        folder.mkdir(parents=True)
        for file, text in files.items():
            atomic_write(file, text)
    except OSError as error:
        raise ValueError(f"{folder} cannot be written ({error.strerror}); choose another place") from error
    pair = shlex.join([str(folder / names["model"]), "--guide", str(folder / names["model_guide"])])
    run = f"runs/{stem}"
    pair += " --missing" if table is not None and table.missing else ""
    epochs = " --epochs 40" if table is None else ""  # a small table takes more, which the default counts by its steps
    commands = (
        f"ppl-vae check {pair}",
        f"pytest {shlex.quote(str(folder))}",
        f"ppl-vae train {pair}{epochs} --out {run}",
        f"ppl-vae gap {run} --data 100",
        f"ppl-vae report {run}",
    )
    return New(folder, kinds, commands, {} if table is None else table.left_out)


def _check_name(folder: Path) -> None:
    name = folder.name
    if folder.exists():
        raise ValueError(f"{folder} is there already, and nothing is overwritten; choose another name, or remove it")
    if not name.isidentifier() or keyword.iskeyword(name):
        better = re.sub(r"\W", "_", name).lstrip("_0123456789")
        hint = f", such as {folder.with_name(better)}" if better and not keyword.iskeyword(better) else ""
        raise ValueError(f"{name!r} is no name of a Python file; take letters, digits and underscores{hint}")
    installed = PathFinder.find_spec(name, [place for place in sys.path if place.endswith("-packages")])
    if name in sys.stdlib_module_names or name == "ppl_vae" or installed is not None:
        raise ValueError(
            f"{name!r} is the name of a package of Python, which the new file would hide; choose another, such as "
            f"{folder.with_name('my_' + name)}"
        )


def _checked_file(file: Path, data: str) -> str:
    """The whole path of data of the user's own."""
    if not file.exists():
        raise ValueError(f"there is no file {file}; check the path (--data-file)")
    kind = find_reader(str(file)).kind.__name__
    if (kind == "PackedCounts") != (data == "documents"):
        other = "documents" if kind == "PackedCounts" else "counts, points, images or table"
        raise ValueError(f"{file} is not read as {data}; take --data {other}, or another file")
    return str(file.resolve())


def _template(data: str, part: str, table: Table | None) -> list[str]:
    """The lines of a template; the tests of most kinds of data differ in how a datum is called and a model is built."""
    if table is not None:
        if part == "test_model":
            return table.test(_template(data, part, None))
        name = part.replace("model", "columns") + ".txt"
        return table.filled((TEMPLATES / data / name).read_text(encoding="utf-8"))
    file = TEMPLATES / data / f"{part}.py"
    if file.exists():
        return file.read_text(encoding="utf-8").splitlines()
    text = (TEMPLATES / "points" / file.name).read_text(encoding="utf-8")
    for here, there in zip(TESTS["points"], TESTS[data], strict=True):
        text = text.replace(here, there)
    return text.splitlines()


def _written(template: list[str], stem: str, corpus: str | None) -> bytes:
    """A template under the names of the new files, and with the data of the user."""
    lines = [re.sub(r"^from model(\w*) import", rf"from {stem}\1 import", line) for line in template]
    if corpus is not None:
        lines = [f"    corpus = {json.dumps(corpus)}" if line.startswith("    corpus = ") else line for line in lines]
        if not any("Path(" in line for line in lines):
            place = next((n for n, line in enumerate(lines) if line == "from pathlib import Path"), None)
            lines = lines if place is None else lines[:place] + lines[place + 2 :]
    first = next((n for n, line in enumerate(lines) if line.startswith("from ")), 0)
    last = first
    while lines[last].startswith("from "):
        last += 1
    lines[first:last] = sorted(lines[first:last], key=lambda line: line.split()[1])
    return "\n".join([*lines, ""]).encode()
