"""Prints and stores how often statements about evidence are true: ``python -m benchmarks.coverage adversarial``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks.coverage import adversarial
from benchmarks.coverage.rates import markdown

RESULTS = Path(__file__).parents[1] / "results" / "coverage.json"


@click.group()
def main() -> None:
    """Counts how often limits, brackets and warnings of the evidence are right."""


stored = click.option("--out", type=click.Path(path_type=Path), help="File for the results, as JSON.")


@main.command("adversarial")
@click.option("--cases", "count", default=200, show_default=True, help="Number of guides.")
@click.option("--methods", default=",".join(adversarial.METHODS), show_default=True, help="Evidence methods.")
@stored
def deceive(count: int, methods: str, out: Path | None) -> None:
    """Measures guides built to deceive: missed modes, collapsed bits, too narrow, too wide, beside the posterior."""
    outcomes = []
    for case in adversarial.cases(count):
        for method in methods.split(","):
            outcome = adversarial.examine(case, method)
            outcomes.append(outcome)
            faults = [name for name in ("wrong_exact", "missed", "silent", "message") if getattr(outcome, name)]
            if faults:
                click.echo(f"{', '.join(faults)}: {outcome}", err=True)
    click.echo(markdown(adversarial.rates(outcomes)))
    store(out, "adversarial", outcomes)


def store(out: Path | None, part: str, rows: list) -> None:
    """Puts the rows of one part into the file, beside those of the others."""
    if out:
        content = json.loads(out.read_text()) if out.exists() else {}
        content[part] = [asdict(row) for row in rows]
        out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
