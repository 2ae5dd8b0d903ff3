"""Damages files of every form and counts what becomes of them: ``python -m benchmarks.siege --mutants 10000``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import click

from benchmarks.siege.case import forms, made
from benchmarks.siege.judge import FAULTS, judged
from benchmarks.siege.table import RESULTS, Row, markdown, stored
from benchmarks.siege.workers import besieged


@click.command()
@click.argument("names", metavar="[FORM]...", nargs=-1)
@click.option("--mutants", default=10_000, show_default=True, help="Files of each form.")
@click.option("--first", default=0, show_default=True, help="Number of the first file.")
@click.option("--seed", default=0, show_default=True, help="Seed of the files.")
@click.option("--jobs", default=2, show_default=True, help="Processes that read.")
@click.option("--out", type=click.Path(path_type=Path), help="File for the outcomes, to which they are added.")
@click.option("--replay", type=int, help="Number of one file to read in this process, with its traceback.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder to write the replayed file into.")
@click.option("--show", is_flag=True, help="Print the stored table, and read nothing.")
def main(
    names: tuple[str, ...],
    mutants: int,
    first: int,
    seed: int,
    jobs: int,
    out: Path | None,
    replay: int | None,
    keep: Path | None,
    show: bool,
) -> None:
    """Reads damaged files of each FORM (by default of all), and ends with 1 if one of them is a fault."""
    if show:
        click.echo(markdown(stored(out or RESULTS)))
        return
    known = forms()
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"there is no form {unknown[0]!r}; choose from {', '.join(known)}")
    chosen = {name: form for name, form in known.items() if not names or name in names}
    if replay is not None:
        for form in chosen.values():
            folder = (keep or Path("siege-replay")).absolute()
            click.echo(f"{form.name}: {judged(form, made(form, seed, replay), folder)}; its files are in {folder}")
            form.read(made(form, seed, replay).write(folder))
        return
    rows = []
    for form in chosen.values():
        row, began = Row(form.name, seed), time.monotonic()
        for outcome in besieged(form, seed, range(first, first + mutants), jobs):
            row.add(outcome)
            if outcome.verdict in FAULTS:
                click.echo(f"{form.name} {outcome.number} {outcome.verdict}: {outcome.reason}", err=True)
        click.echo(f"{row} in {time.monotonic() - began:.0f} s", err=True)
        rows.append(row)
        if out:
            store(out, row)
    click.echo(markdown(rows))
    if any(row.faults for row in rows):
        sys.exit(1)


def store(out: Path, row: Row) -> None:
    """Adds outcomes of a form to a file, in the place of those of another commit or seed."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    content = {"commit": commit.stdout.strip(), "forms": {}}
    if out.exists():
        content["forms"] = json.loads(out.read_text())["forms"]
    content["forms"][row.form] = row.to_json() | {"commit": content["commit"]}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
