"""Exact evidence by enumeration: time with the data in memory, and error of float32 against float64.

    python -m benchmarks.evidence --bits 16 --hidden 0

Where the pair allows it, all log-densities are matrix products of codes and documents; "densities" is the general path
for any pair. The reference in float64 takes the general path, on a sample of the documents.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import click
import pyro
import torch
from rich.table import Table

from benchmarks.setting import Setting, keep_corpus, read_corpus
from benchmarks.steps import NATURAL, POSITIVE, finish, options
from ppl_vae.evidence.methods import enumeration
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.sites import guide_sites

GENERAL = mock.patch.object(enumeration, "_by_products", lambda *args: None)


@click.command()
@click.option("--bits", default=16, show_default=True, type=POSITIVE)
@click.option("--hidden", default=0, show_default=True, type=NATURAL, help="ReLU layers of the decoder.")
@click.option(
    "--general/--no-general", default=False, help="Time the general path, too, which takes ten times as long."
)
@click.option(
    "--sample", default=100, show_default=True, type=POSITIVE, help="Number of documents compared with float64."
)
@options
def main(
    bits: int,
    hidden: int,
    general: bool,
    sample: int,
    corpus: str,
    vocabulary: int,
    documents: int,
    blocks: int,
    seconds: float,
    threads: int,
    matmul_precision: str,
    as_json: bool,
    out: Path | None,
) -> None:
    """Time the exact evidence of a corpus, alone and with the ELBO."""
    if threads:
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(matmul_precision)
    pyro.enable_validation(False)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        x = read_corpus(keep_corpus(corpus, documents, vocabulary, Path(folder)))
    model, guide = Setting(hidden=hidden, bits=bits).pair(x)
    # Parameters as large as training makes them: under an untrained model all codes are alike.
    model.words.weight.data *= 3
    guide.encoder.weight.data *= 30
    sites, some = guide_sites(model, (x[:2],)), x[:: max(1, len(x) // sample)]
    rows = []
    with evaluating(model, guide):
        for path in ("products", "densities")[: 1 + general]:
            for bound in (False, True):
                with GENERAL if path == "densities" else nullcontext():
                    result = enumeration.enumerate_states(model, guide if bound else None, some, sites)
                    begun, busy = time.perf_counter(), time.process_time()
                    enumeration.enumerate_states(model, guide if bound else None, x, sites)
                    taken = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - busy}
                with GENERAL:
                    exact = enumeration.enumerate_states(model.double(), guide.double() if bound else None, some, sites)
                model.float(), guide.float()
                pairs = (
                    [(getattr(result, n).pointwise, getattr(exact, n).pointwise) for n in ("evidence", "elbo")]
                    if bound
                    else [(result, exact)]
                )
                error = max((one - other).abs().max().item() for one, other in pairs)
                rows.append({"path": path, "bound": bound} | taken | {"largest_error": error})
    table = Table(title=f"{len(x)} documents, {vocabulary} words, {2**bits} codes, {hidden} hidden layers")
    for column in ("by", "", "seconds", "CPU seconds", "largest error, nats"):
        table.add_column(column, justify="left" if column in ("by", "") else "right")
    for row in rows:
        quantity = "evidence and ELBO" if row["bound"] else "evidence"
        table.add_row(
            row["path"], quantity, f"{row['seconds']:.2f}", f"{row['cpu_seconds']:.2f}", f"{row['largest_error']:.1e}"
        )
    finish({"bits": bits, "hidden": hidden, "documents": len(x), "rows": rows}, [table], as_json, out)


if __name__ == "__main__":
    main()
