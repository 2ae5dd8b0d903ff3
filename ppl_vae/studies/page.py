"""The report of an experiment as pages: in Markdown, and in HTML that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from ppl_vae.runs.report.markup import bullets, code, facts, figure, table
from ppl_vae.runs.report.report import Section, rendered
from ppl_vae.studies.report import Report
from ppl_vae.training.run_folder import RunFolder

__all__ = ["page", "write_pages"]


def write_pages(run: RunFolder, report: Report, command: str) -> None:
    """Writes ``report.md`` and ``report.html`` into the folder of an experiment.

    Arguments:
        run: The folder, with its figures.
        report: The report.
        command: The command that makes the report.
    """
    figures = sorted(run.folder.glob("figures/*.png"))
    images = "".join(f"![{path.stem}](figures/{path.name})\n" for path in figures)
    run.write("report.md", f"{report.markdown()}\n{images}".encode())
    run.write("report.html", page(report, figures, command, run.read_json("experiment.json")["versions"]).encode())


def page(report: Report, figures: Sequence[Path], command: str, versions: Mapping[str, str]) -> str:
    """A page with the claims, the table, the figures and how to compute it all again.

    Arguments:
        report: The report.
        figures: PNG files, shown in this order.
        command: The command that makes the report.
        versions: Versions of what computed it.
    """
    counted = {each: sum(d.answer == each for d in report.decisions) for each in ("held", "did not hold", "undecided")}
    several = [f"{count} {answer}" for answer, count in counted.items() if count]
    count = len(report.decisions)
    finding = f"Of {count} claim{'s' * (count > 1)}: {', '.join(several)}." if several else ""
    return rendered(
        title=report.title,
        kind="Report of an experiment",
        findings=[{"sentence": finding, "note": report.rule}] if finding else [],
        numbers={},
        parts=[section for section in _sections(report, figures, command, versions) if section.content],
        footnote="standard errors: in the table over seeds, in a claim over what it names",
    )


def _sections(report: Report, figures: Sequence[Path], command: str, versions: Mapping[str, str]) -> Iterable[Section]:
    claims = [(d.claim.text, d.answer, d.claim.figures.replace("+-", "±"), d.test) for d in report.decisions]
    heads = ("claim", "answer", "measured", "test")
    yield Section("claims", "Claims", table("What was decided", heads, claims, text=heads) if claims else "")
    yield Section("figures", "Figures", Markup("").join(map(_image, figures)))
    columns = report.columns()
    rows = zip(*columns.values(), strict=True)
    yield Section("table", "Table", table("What was measured", list(columns), rows, text=("unit",)) if columns else "")
    yield Section(
        "notes", "Notes", bullets(f"{note[:1].upper()}{note[1:]}.".replace("+-", "±") for note in report.notes)
    )
    yield Section("again", "Compute it again", (code(command) if command else Markup("")) + facts(versions))


def _image(file: Path) -> Markup:
    data = base64.b64encode(file.read_bytes()).decode()
    image = Markup('<img class="smooth" src="data:image/png;base64,{}" alt="{}">').format(data, file.stem)
    return figure(image, file.stem.replace("-", " "))
