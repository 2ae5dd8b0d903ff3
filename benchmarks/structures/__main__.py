"""Prints the table of structures: ``python -m benchmarks.structures``."""

from benchmarks.structures.table import builders, evaluate, markdown

if __name__ == "__main__":
    rows = []
    for build in builders():
        rows.append(evaluate(build))
        right = "" if rows[-1].agrees else "  WRONG" if rows[-1].runs else ""
        print(f"{rows[-1].structure.title}: {rows[-1].method or rows[-1].message}{right}", flush=True)
    print(markdown(rows))
    running = sum(row.runs for row in rows)
    print(f"\n{running} of {len(rows)} run unchanged; {sum(row.runs and not row.agrees for row in rows)} are wrong")
