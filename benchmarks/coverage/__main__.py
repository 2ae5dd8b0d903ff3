"""How often what is printed about evidence is true: ``python -m benchmarks.coverage all --out FILE``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks.coverage import adversarial, alarms, annealed, differences, sampled
from benchmarks.coverage.prices import prices
from benchmarks.coverage.rates import Rate, markdown, pooled
from benchmarks.stored import FOLDER, commit, fill_page

RESULTS = FOLDER / "coverage.json"
"""The stored rates."""

PARTS = ("statements", "adversarial", "differences", "warnings", "prices")


@click.group()
def main() -> None:
    """Counts how often limits, brackets and warnings of the evidence are right."""


stored = click.option("--out", type=click.Path(path_type=Path), help="File for the rates, as JSON.")
replications = click.option("--runs", default=200, show_default=True, help="Replications; fewer where one is costly.")
guides = click.option("--cases", default=200, show_default=True, help="Number of guides built to deceive.")
random_pairs = click.option("--pairs", "pairs", default=500, show_default=True, help="Number of random pairs.")


@main.command()
@replications
@click.option("--only", help="Names of groups of statements, separated by commas.")
@stored
def statements(runs: int, only: str | None, out: Path | None) -> None:
    """Statements of the manual about evidence, gap and comparison, each over replications on new data."""
    for row in (*sampled.ROWS, *annealed.ROWS):
        if only is None or row.__name__ in only.split(","):
            rates = list(row(runs))
            click.echo("\n".join(markdown(rates).splitlines()[2:]))
            store(out, "statements", rates, more=True)


@main.command("adversarial")
@guides
@click.option("--methods", default=",".join(adversarial.METHODS), show_default=True, help="Evidence methods.")
@stored
def deceive(cases: int, methods: str, out: Path | None) -> None:
    """Guides built to deceive: missed modes, collapsed bits, too narrow, too wide, beside the posterior."""
    outcomes = []
    for case in adversarial.cases(cases):
        for method in methods.split(","):
            outcomes.append(adversarial.examine(case, method))
            faults = [name for name in ("wrong_exact", "missed", "silent", "message") if getattr(outcomes[-1], name)]
            if faults:
                click.echo(f"{', '.join(faults)}: {outcomes[-1]}", err=True)
    rates = adversarial.rates(outcomes)
    click.echo(markdown(rates))
    store(out, "adversarial", rates)


@main.command("differences")
@replications
@stored
def cover(runs: int, out: Path | None) -> None:
    """Intervals of population means, of differences between guides and models, of the curve and of information."""
    rates = differences.rates(runs)
    click.echo(markdown(rates))
    store(out, "differences", rates)


@main.command("warnings")
@random_pairs
@stored
def judge(pairs: int, out: Path | None) -> None:
    """True and false positive rates of the warnings over random pairs."""
    rates = alarms.rates([alarms.sound(*pair) for pair in alarms.pairs(pairs)])
    click.echo(markdown(rates))
    store(out, "warnings", rates)


@main.command("prices")
@stored
def price(out: Path | None) -> None:
    """Processor time of a measurement with its bracket, as a multiple of that of the lower bound alone."""
    rates = list(prices())
    click.echo(markdown(rates))
    store(out, "prices", rates)


@main.command("all")
@replications
@guides
@random_pairs
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="File for the rates.")
@click.pass_context
def everything(context: click.Context, runs: int, cases: int, pairs: int, out: Path) -> None:
    """All five, and the commit they were measured at."""
    out.parent.mkdir(exist_ok=True)
    out.write_text("{}")
    context.invoke(price, out=out)
    context.invoke(judge, pairs=pairs, out=out)
    context.invoke(deceive, cases=cases, methods=",".join(adversarial.METHODS), out=out)
    context.invoke(cover, runs=runs, out=out)
    context.invoke(statements, runs=runs, only=None, out=out)


@main.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True), default=RESULTS)
@click.option("--page", type=click.Path(path_type=Path, exists=True), help="Page whose tables are replaced.")
def show(file: Path, page: Path | None) -> None:
    """Prints the tables of stored rates, or puts them into a page, below the comments that name them."""
    commits = json.loads(file.read_text())["commits"]
    tables = {part: table_of(file, part) for part in PARTS}
    rows = (PARTS, ["---"] * len(PARTS), [commits.get(part, "not measured yet") for part in PARTS])
    tables["commits"] = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    for part, table in tables.items():
        if page:
            page.write_text(fill_page(page.read_text(encoding="utf-8"), part, table))
        else:
            click.echo(table + "\n")


@main.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True), default=RESULTS)
@click.option("--picture", type=click.Path(path_type=Path), default=Path("docs/figures/coverage.png"))
def draw(file: Path, picture: Path) -> None:
    """Draws how often promises were kept."""
    from benchmarks.coverage.figure import draw as drawn

    drawn([*read(file, "statements"), *read(file, "adversarial")], picture)


def read(file: Path, part: str) -> list[Rate]:
    """The stored rates of one part; none if it was not measured."""
    return [Rate(**row) for row in json.loads(file.read_text()).get(part, [])]


def table_of(file: Path, part: str) -> str:
    """The table of one part; of the many intervals one line for each kind of number, over all models and guides."""
    rates = read(file, part)
    return markdown(pooled(rates) if part == "differences" else rates)


def store(out: Path | None, part: str, rates: Iterable[Rate], more: bool = False) -> None:
    """Puts the rates of one part into the file, or adds them."""
    if out:
        content = json.loads(out.read_text()) if out.exists() else {}
        content[part] = [*(content.get(part, []) if more else []), *(asdict(rate) for rate in rates)]
        content.setdefault("commits", {})[part] = commit()
        out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
