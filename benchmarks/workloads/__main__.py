"""All that ppl-vae does beside programs written by hand, in one table.

    python -m benchmarks.workloads
    python -m benchmarks.workloads --work gaussian --work readme --threads 1 --blocks 7 --out table.json

Every program is a process of its own for each number of threads; those of a piece of work run blocks by turns, so that
what disturbs the machine disturbs them all. A ratio is the other's time over ours in the same block, median and range:
under one, ours is slower. "CPU" is processor time, the steadier one on a machine that others use. A program that cannot
run, because its package is not installed, is left out with a line.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from benchmarks.machine import machine, title
from benchmarks.race import Entry, Result, race
from benchmarks.setting import Setting, keep_corpus
from benchmarks.steps import POSITIVE, finish
from benchmarks.workloads.works import WORKS, Work


def entries_of(work: Work, corpus: Path, threads: list[int]) -> list[Entry]:
    """The competitors of a piece of work: each program with each number of threads."""
    return [
        Entry(name, where, work.setting, corpus, threads=count)
        for count in threads
        for name, where in work.peers.items()
    ]


def rows_of(name: str, work: Work, results: list[Result]) -> Iterator[dict[str, Any]]:
    """What was found of each program, with ratios to ours at as many threads."""
    ours = {r.entry.threads: r for r in results if r.entry.name == "ours" and not r.skipped}
    for result in results:
        row = {"work": name, "title": work.title, "unit": work.unit, "threads": result.entry.threads}
        row |= result.to_json()
        base = ours.get(result.entry.threads)
        if base is not None and not result.skipped:
            for kind, ratio in (("time_over_ours", result.ratio(base)), ("cpu_over_ours", result.busy_ratio(base))):
                row[kind] = dict(zip(("median", "low", "high"), ratio, strict=True))
        if result.entry.name == "ours" and not result.skipped and 1 in ours:
            gain = ours[1].ratio(result)
            row["speed_up_over_one_thread"] = dict(zip(("median", "low", "high"), gain, strict=True))
        yield row


def shown(ratio: dict[str, float]) -> str:
    """A ratio with its range."""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"


def table_of(heading: str, rows: list[dict[str, Any]]) -> Table:
    """One line a program and number of threads."""
    table = Table(title=heading)
    for column in ("work", "threads", "program", "ms", "CPU ms", "time / ours (range)", "CPU / ours (range)"):
        table.add_column(column, justify="left" if column in ("work", "program") else "right")
    before = None
    for row in rows:
        if "skipped" in row:
            continue
        group = (row["title"], row["threads"])
        if before is not None and before != group:
            table.add_section()
        named = (f"{row['title']}, a {row['unit']}", str(row["threads"] or "all")) if before != group else ("", "")
        times = [f"{1e3 * row[key]:.3g}" for key in ("seconds_per_step", "cpu_seconds_per_step")]
        ratios = [shown(row[key]) if key in row else "" for key in ("time_over_ours", "cpu_over_ours")]
        if row["name"] == "ours":
            gain = row.get("speed_up_over_one_thread")
            ratios = [f"{shown(gain)} times one thread" if gain and row["threads"] != 1 else "", ""]
        table.add_row(*named, row["name"], *times, *ratios)
        before = group
    return table


@click.command()
@click.option("--work", "names", multiple=True, type=click.Choice(list(WORKS)), help="Repeatable; by default all.")
@click.option("--threads", default="1,2", show_default=True, help="Numbers of cores of each program, with commas.")
@click.option("--blocks", default=5, show_default=True, type=POSITIVE, help="Turns of each program.")
@click.option(
    "--seconds",
    default=0.5,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="About how long a block lasts.",
)
@click.option("--programs", default="", help="Only programs whose name holds one of these, with commas, and ours.")
@click.option("--small", is_flag=True, help="Sizes that take no time, to see that all of it runs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the JSON document to this file.")
def main(
    names: tuple[str, ...],
    threads: str,
    blocks: int,
    seconds: float,
    programs: str,
    small: bool,
    as_json: bool,
    out: Path | None,
) -> None:
    """Time everything beside programs written by hand."""
    try:
        counts = [int(part) for part in threads.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"threads are numbers with commas, such as 1,2, got {threads!r}") from error
    wanted = [part for part in programs.split(",") if part]
    rows: list[dict[str, Any]] = []
    document: dict[str, Any] = {"machine": machine(), "blocks": blocks, "seconds": seconds, "rows": rows}
    heading = f"{title()}: time of the other over ours, median (range) of {blocks} blocks"
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder)
        if any(isinstance(WORKS[name].setting, Setting) for name in names or WORKS):
            corpus = keep_corpus("zipf", *((60, 30) if small else (11_269, 10_000)), Path(folder))
        for name in names or WORKS:
            work = WORKS[name].small() if small else WORKS[name]
            entries = entries_of(work, corpus, counts)
            if wanted:
                entries = [e for e in entries if e.name == "ours" or any(part in e.name for part in wanted)]
            results = race(entries, blocks=blocks, seconds=seconds)
            for result in results:
                if result.skipped:
                    print(f"note: {work.title}: {result.entry.name} left out: {result.skipped}", file=sys.stderr)
            found = list(rows_of(name, work, results))
            rows += found
            if not as_json:  # a long run that is interrupted leaves what it has
                finish(document, [table_of(heading, found)], False, out)
    finish(document, [], as_json, out)


if __name__ == "__main__":
    main()
