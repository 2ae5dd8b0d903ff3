"""Model and guide of a table of the user: a site for each of its columns, of a distribution for its kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.fields import ALL, argument_name
from ppl_vae.data.load import find_reader
from ppl_vae.data.source import Source
from ppl_vae.data.table import LABELS

__all__ = ["Table"]

MOST_CLASSES = 50
"""Texts of more kinds are no classes of a column."""

LARGEST_MEAN = 100.0
"""Whole numbers from 0 with a larger mean are numbers, not counts."""

LINE = 120
"""Characters of a line, at most."""

HIDDEN = ("self", "z", "out", "scale", "pyro", "dist", "torch", "one_hot")
"""Names that the written files use for other things."""


@dataclass(frozen=True)
class _Column:
    """A column: ``number``, ``count``, ``yes`` or no, or ``class`` of several."""

    name: str
    kind: str
    missing: bool
    mean: float
    spread: float
    classes: int = 0
    boolean: bool = False

    @property
    def value(self) -> str:
        """The column as a site observes it."""
        return f"{self.name}.long()" if self.boolean else self.name

    @property
    def outputs(self) -> int:
        """Outputs of the decoder that it takes."""
        return self.classes or 1


@dataclass(frozen=True)
class Table:
    """The columns of a table as the arguments of a model.

    Arguments:
        file: The table.
        columns: Those that the model describes.
        left_out: Others, and why.
    """

    file: Path
    columns: tuple[_Column, ...]
    left_out: dict[str, str]

    @classmethod
    def read(cls, file: Path) -> Table:
        """The columns of a table, each of the kind that its values have.

        Raises:
            ValueError: If the file is no table, or none of its columns varies.
        """
        reader = find_reader(str(file))
        if "fields" not in [option.name for option in reader.options]:
            raise ValueError(f"{file} is read as {reader.name}, which is no table; take --data points, or another file")
        source = reader.read(file, fields=ALL, missing=True)
        assert isinstance(source, Source)
        values = source.splits["train"].values
        if not isinstance(values, dict):
            raise ValueError(f"{file} has a single column; take --data points, or another file")
        columns, left_out = list[_Column](), dict[str, str]()
        for name, numbers in values.items():
            found = _kind(argument_name(name), numbers, source.classes.get(name, ()))
            if name.lower() in LABELS:
                left_out[name] = "a label, which colours reports and is no part of a datum"
            elif isinstance(found, str):
                left_out[name] = found
            elif not found.name.isidentifier() or found.name in [*HIDDEN, *(column.name for column in columns)]:
                left_out[name] = "no name of an argument; rename it"
            else:
                columns.append(found)
        if len(columns) < 2:
            why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
            raise ValueError(f"{file} has fewer than two columns that a model can describe ({why}); take another file")
        return cls(file, tuple(columns), left_out)

    @property
    def missing(self) -> bool:
        """Whether a value is missing."""
        return any(column.missing for column in self.columns)

    def filled(self, template: str) -> list[str]:
        """The lines of a template, with those that name columns."""
        names = [column.name for column in self.columns]
        numbers = sum(column.kind == "number" for column in self.columns)
        kept = {"NUMBERS": numbers > 0, "CLASSES": any(column.classes for column in self.columns)}
        fill = {
            "FILE": self.file.name.replace("\\", "/").replace('"', "'"),
            "FIRST": names[0],
            "OUTPUTS": str(sum(column.outputs for column in self.columns)),
            "SCALES": str(numbers),
            "INPUTS": str(sum(column.outputs + column.missing for column in self.columns)),
        }
        for mark, text in fill.items():
            template = template.replace(f"<{mark}>", text)
        lines = list[str]()
        for line in template.splitlines():
            code, _, condition = line.partition(" <IF ")
            indent = line[: len(line) - len(line.lstrip())]
            if line.strip() == "<SITES>":
                lines += [each for site in self._sites() for each in _wrapped(f"{indent}pyro.sample(", site, ")")]
            elif line.strip() == "<READ>":
                lines += [indent + each for each in self._read()]
            elif "<ARGUMENTS>" in line:
                head, tail = line.split("<ARGUMENTS>")
                lines += _wrapped(head, ["self", *names], tail)
            elif not condition or kept[condition.rstrip(">")]:
                lines.append(code)
        return lines

    def test(self, template: Sequence[str]) -> list[str]:
        """The tests of a table, of the columns that the model describes."""
        missing = ", missing=True" if self.missing else ""
        replaced = {
            "x = ": [
                *_wrapped("columns = [", [f'"{column.name}"' for column in self.columns], "]"),
                f'x = pv.load_corpus(Model.corpus, fields=",".join(columns){missing}).train.values[:8]',
            ],
            "model = ": ["model = Model()"],
        }
        beginnings = [next((key for key in replaced if line.startswith(key)), None) for line in template]
        pairs = zip(template, beginnings, strict=True)
        return [each for line, key in pairs for each in ([line] if key is None else replaced[key])]

    def _sites(self) -> Iterator[tuple[str, ...]]:
        """The arguments of each site."""
        place = scale = 0
        for column in self.columns:
            out = f"out[..., {place}]"
            if column.kind == "number":
                mean, spread = f"{column.mean:.4g}", f"{column.spread:.4g}"
                fn = f"dist.Normal({mean} + {spread} * {out}, {spread} * scale[{scale}])"
                scale += 1
            elif column.kind == "count":
                fn = f"dist.Poisson({column.mean:.4g} * {out}.exp())"
            elif column.kind == "yes":
                fn = f"dist.Bernoulli(logits={out})"
            else:
                fn = f"dist.Categorical(logits=out[..., {place}:{place + column.classes}])"
            mask = f".mask(~{column.name}.isnan())" if column.missing else ""
            yield f'"{column.name}"', f"{fn}{mask}", f"obs={column.value}"
            place += column.outputs

    def _read(self) -> Iterator[str]:
        """What the network of the guide reads."""
        for column in self.columns:
            if column.kind == "class":
                yield f"one_hot({column.value}, {column.classes}),"
                continue
            number = f"(({column.name} - {column.mean:.4g}) / {column.spread:.4g}){'.nan_to_num()' * column.missing}"
            yield f"{number}[..., None],"
            if column.missing:
                yield f"{column.name}.isnan()[..., None],"


def _kind(name: str, values: NDArray[np.generic], classes: Sequence[str]) -> _Column | str:
    """The column that values make, or why they make none."""
    if values.ndim != 1:
        return "vectors; give it a site by hand"
    if classes:
        several = 1 < len(classes) <= MOST_CLASSES and 2 * len(classes) <= len(values)
        if not several:
            return "one text in all rows" if len(classes) == 1 else f"{len(classes)} different texts"
        return _Column(name, "class", False, 0.0, 1.0, len(classes))
    numbers = values.astype(np.float64)
    seen = numbers[np.isfinite(numbers)]
    if not len(seen) or not np.ptp(seen) > 0:
        return "one value in all rows"
    missing, whole = len(seen) < len(numbers), bool((seen == np.rint(seen)).all()) and float(seen.min()) == 0
    mean, spread = float(seen.mean()), float(seen.std())
    if values.dtype.kind in "bi" and whole and float(seen.max()) == 1:
        return _Column(name, "class", False, 0.0, 1.0, 2, values.dtype.kind == "b")
    if whole and float(seen.max()) == 1:
        return _Column(name, "yes", missing, mean, spread)
    return _Column(name, "count" if whole and mean <= LARGEST_MEAN else "number", missing, mean, spread)


def _wrapped(head: str, arguments: Sequence[str], tail: str) -> list[str]:
    """A call on one line, or on several where it is longer than a line."""
    inner, indent = ", ".join(arguments), " " * (len(head) - len(head.lstrip()) + 4)
    if len(head + inner + tail) <= LINE:
        return [head + inner + tail]
    lines = [inner] if len(indent + inner) <= LINE else [f"{part}," for part in arguments]
    return [head, *(indent + line for line in lines), indent[4:] + tail]
