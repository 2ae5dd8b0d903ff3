"""``ppl-vae report``: what trained runs show, as one page that needs nothing else."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import ppl_vae
from ppl_vae.data.files import atomic_write
from ppl_vae.runs.code import Code, opening_too
from ppl_vae.runs.compare import compare
from ppl_vae.runs.open import Run, open_run
from ppl_vae.runs.report import sections
from ppl_vae.runs.report.comparison import compared, contrast
from ppl_vae.runs.report.finding import Finding, find
from ppl_vae.runs.report.markup import paragraph
from ppl_vae.runs.report.reasons import reason
from ppl_vae.runs.report.subject import Subject
from ppl_vae.runs.uses import Count, Split
from ppl_vae.training.progress import log

__all__ = ["Report", "Section", "report", "rendered"]

FOOTNOTE = "nats per {}, higher is better; ±: at 95%, where no other meaning stands beside it"


@dataclass(frozen=True)
class Section:
    """A part of a page: a section, or the sections of a run.

    Arguments:
        key: Its name in addresses.
        title: Its heading.
        content: What it holds, if it is a section.
        sections: The sections of a run, if it is one.
    """

    key: str
    title: str
    content: str = ""
    sections: Sequence[Section] = ()


@dataclass(frozen=True)
class Report:
    """A written report.

    Arguments:
        file: Path of the page.
        findings: The finding of each run by its folder.
        size: Size of the page in bytes.
    """

    file: Path
    findings: dict[str, Finding]
    size: int = field(default=0)

    def to_json(self) -> dict[str, Any]:
        found = {
            name: {"verdict": each.verdict, "finding": each.sentence, "note": each.note}
            for name, each in self.findings.items()
        }
        return {"file": str(self.file), "bytes": self.size, "runs": found}

    def __str__(self) -> str:
        several = len(self.findings) > 1
        lines = [f"{f'{name}: ' if several else ''}{each.sentence}" for name, each in self.findings.items()]
        return "\n".join([*lines, f"the report is {self.file} ({self.size / 1000:.0f} kB); open it in a browser"])

    __repr__ = __str__


def report(
    *runs: Run | Path | str,
    split: Split = "test",
    data: Count | None = None,
    measure: bool = True,
    out: str | Path | None = None,
    code: Code = "run",
    corpus: str | Path | None = None,
    trust: bool = False,
) -> Report:
    """Writes a report of trained runs: one HTML page, as :meth:`ppl_vae.runs.open.Run.report` describes it.

    Arguments:
        runs: The runs, or their folders.
        split: Data to report on.
        data: Number of data, drawn at random, on which what is missing is measured; 0 for all. By default all where
            that takes seconds, else 100.
        measure: Measure what is missing; else only what is stored is shown.
        out: Path of the page.
        code: How folders are opened, as by :func:`ppl_vae.load_run`, and so are corpus and trust.
        corpus: Where the data lie now, if they have moved.
        trust: Whether to run the code of runs that someone sent.

    Raises:
        ValueError: If a folder is no run, or runs that are compared were trained on different data.
    """
    if not runs:
        raise ValueError("a report needs a run; give the folder of one")
    with opening_too(code, corpus, trust):
        opened = [run if isinstance(run, Run) else open_run(run) for run in runs]
    subjects = [Subject(run, split, data, measure) for run in opened]
    content, findings = _of_one(subjects[0]) if len(subjects) == 1 else _of_several(subjects)
    state = next((run.state for run in opened if not run.state.is_run), opened[0].state)
    name = state.named("report" if len(opened) == 1 else f"compare-{split}")
    path = opened[0].folder / f"{name}.html" if out is None else Path(out)
    page = content.encode()
    atomic_write(path, page)
    return Report(path, findings, len(page))


def _of_one(subject: Subject) -> tuple[str, dict[str, Finding]]:
    finding = find(subject)
    page = rendered(
        title=subject.run.pair.description.split(" (")[0],
        kind=f"Report of {subject.run.folder}: {subject.run.corpus.name}, {len(subject.data):,} {subject.split} "
        f"{subject.nouns}",
        findings=[{"sentence": finding.sentence, "note": finding.note}],
        numbers=_numbers(subject, finding),
        parts=list(_sections(subject)),
        footnote=FOOTNOTE.format(subject.noun),
    )
    return page, {str(subject.run.folder): finding}


def _of_several(subjects: Sequence[Subject]) -> tuple[str, dict[str, Finding]]:
    comparison = compare(*(subject.run for subject in subjects), split=subjects[0].split)  # type: ignore[arg-type]
    letters = list(comparison.labelled())
    found = {str(subject.run.folder): find(subject) for subject in subjects}
    parts = [Section("comparison", "Side by side", compared(comparison, subjects))]
    for letter, subject in zip(letters, subjects, strict=True):
        inner = tuple(_sections(subject, f"{letter}-"))
        parts.append(Section(letter, f"{letter}: {subject.run.folder}", sections=inner))
    page = rendered(
        title=f"{len(subjects)} runs on {subjects[0].run.corpus.name}",
        kind=f"Report of {len(subjects[0].data):,} {subjects[0].split} {subjects[0].nouns}",
        findings=[
            *({"sentence": sentence} for sentence in contrast(comparison, subjects[0].noun)),
            *(
                {"name": f"{letter}:", "sentence": each.sentence, "note": each.note}
                for letter, each in zip(letters, found.values(), strict=True)
            ),
        ],
        numbers={},
        parts=parts,
        footnote=FOOTNOTE.format(subjects[0].noun),
    )
    return page, found


def _numbers(subject: Subject, finding: Finding) -> dict[str, str]:
    """The numbers at the top of the page."""
    if subject.evidence is None:
        return {}
    named = {"ELBO": subject.evidence.elbo.figure, "evidence": subject.evidence.evidence.figure}
    named |= {"gap": finding.total.words} if finding.total is not None else {}
    named |= {"the network's part": finding.network.words} if finding.network is not None else {}
    return named | ({"the family's part": finding.family.words} if finding.family is not None else {})


@cache
def section_files() -> list[ModuleType]:
    """The modules of the sections in the order of their places."""
    names = sorted(module.name for module in pkgutil.iter_modules(sections.__path__))
    modules = [importlib.import_module(f"{sections.__name__}.{name}") for name in names]
    return sorted(modules, key=lambda module: float(module.PLACE))


def _sections(subject: Subject, prefix: str = "") -> Iterator[Section]:
    """The sections that have something to show; of one that cannot be made the reason, which is said, too."""
    for module in section_files():
        try:
            content = module.section(subject)
        except Exception as error:  # must not cost the other sections, nor be kept from the reader
            why = reason(error)
            log(f"note: the section {module.TITLE!r} of the report of {subject.run.folder} is missing: {why}")
            content = paragraph(f"This is not shown: {why}")
        if content is not None:
            yield Section(prefix + module.__name__.rpartition(".")[2], module.TITLE, content)


def rendered(
    *,
    title: str,
    kind: str,
    findings: Sequence[dict[str, str]],
    numbers: dict[str, str],
    parts: Sequence[Section],
    footnote: str,
) -> str:
    """The page as HTML; all that is not markup is escaped."""
    from jinja2 import Environment

    folder = files(__package__)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        kind=kind,
        findings=findings,
        numbers=numbers,
        parts=parts,
        footnote=footnote,
        style=folder.joinpath("page.css").read_text(encoding="utf-8"),
        version=ppl_vae.__version__,
    )
