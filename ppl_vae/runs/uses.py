"""What a trained run is used for: each method is a command of ``ppl-vae``, with its options, defaults and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

from msgspec import Meta

if TYPE_CHECKING:
    from ppl_vae.diagnostics.retrieval.retrieval import Retrieval
    from ppl_vae.runs.export_arviz import Exported
    from ppl_vae.runs.frechet import Frechet
    from ppl_vae.runs.open import Run
    from ppl_vae.runs.report.report import Report
    from ppl_vae.runs.search import SearchResult, Written

__all__ = ["AtLeastTwo", "Count", "Positive", "Split", "Uses"]

Split = Literal["train", "validation", "test"]
Count = Annotated[int, Meta(ge=0)]
"""Number of data to measure; 0 for all."""
Positive = Annotated[int, Meta(ge=1)]
AtLeastTwo = Annotated[int, Meta(ge=2)]


class Uses:
    """What is written, found and drawn with a run; see :class:`~ppl_vae.runs.measurements.Measurements`."""

    def report(
        self,
        *,
        split: Split = "test",
        data: Count | None = None,
        measure: bool = True,
        out: str | Path | None = None,
    ) -> Report:
        """Write a report of trained runs: one HTML page.

        The page holds the finding in a sentence, where the gap comes from, what to do next, the evidence with its
        errors, the course of training, the worst data, the use of the code, words, images or regions, and how to train
        the run again; of several runs their paired differences, too. Stored measurements are taken, missing ones of
        evidence, gap and information are made. The page needs no network. Writes RUN/report.html, of several runs
        compare-SPLIT.html into the first.

        Arguments:
            split: Data to report on.
            data: Number of data, drawn at random, on which what is missing is measured; 0 for all. By default all where
                that takes seconds, else 100.
            measure: Measure what is missing; else only what is stored is shown.
            out: Path of the page.
        """
        from ppl_vae.runs.report.report import report

        return report(cast("Run", self), split=split, data=data, measure=measure, out=out)

    def export(
        self, *, split: Split = "test", data: Count = 0, draws: AtLeastTwo = 100, predictive: Count = 5
    ) -> Exported:
        """Export draws, weights, likelihoods and data for ArviZ.

        Writes arviz-SPLIT.nc into the run, for arviz.from_netcdf. The draws come from the guide.

        Arguments:
            draws: Draws per datum.
            predictive: Number of draws for which data are drawn from the model.
        """
        from ppl_vae.runs.export_arviz import export_arviz

        return export_arviz(cast("Run", self), split, draws, data, predictive)

    def codes(
        self,
        *,
        split: Literal["all", "train", "validation", "test"] = "all",
        out: str | Path | None = None,
        how: Literal["mean-sign", "median", "sampled"] = "mean-sign",
        refine: Count = 0,
    ) -> Written:
        """Write the binary codes of a run's data.

        Codes are packed, eight bits per byte, for NumPy, faiss, or a database: SPLIT_codes, and SPLIT_labels,
        SPLIT_titles and label_names where the corpus has them.

        Arguments:
            split: Data to encode.
            out: Path of the file; by default RUN/codes.npz (RUN/codes-refined.npz).
            how: Take each bit's more probable value, its side of the training median, or a draw.
            refine: Steps of gradient ascent for each datum, from the guide's output, before; 0 for none.
        """
        from ppl_vae.runs.search import write_codes

        return write_codes(cast("Run", self), split, None if out is None else Path(out), how, refine)

    def search(self, query: str, *, count: Positive = 10) -> SearchResult:
        """Find the documents whose codes are nearest to a query's.

        The words of the query are counted as those of the corpus, and the guide encodes them like any document. Shows
        the Hamming distance of each document's code, and the cosine of weighted words, by which ties are ordered. A
        document need not share a word with the query. For many documents, pip install 'ppl-vae[search]' is faster.

        Arguments:
            query: The words.
            count: Number of documents to show.
        """
        from ppl_vae.runs.search import search

        return search(cast("Run", self), query, count)

    def retrieval(self, *, split: Split = "test", data: Count = 0, k: Positive = 100, refine: Count = 0) -> Retrieval:
        """Measure how well codes retrieve documents of one class.

        Queries are the documents of the split; the database holds the training documents (and the validation documents,
        if the queries are test documents). Documents are ranked by Hamming distance, and the precision is the
        expectation over random orders of ties. Baselines are the cosine of words weighted by rarity, and chance.

        Writes retrieval-SPLIT.json (retrieval-SPLIT-refined.json), the precision of each query, and a figure of
        precision against recall into the run.

        Arguments:
            k: Number of documents that each query retrieves.
            refine: Steps of gradient ascent for each query and document, from the guide's output, before; 0 for none.
        """
        from ppl_vae.runs.search import measure_retrieval

        return measure_retrieval(cast("Run", self), split, k, data, refine)

    def frechet(
        self,
        *,
        split: Split = "test",
        data: Count = 0,
        against: str | Path | None = None,
        images: AtLeastTwo = 10_000,
        means: bool = False,
        features: Literal["classifier", "inception"] = "classifier",
        weights: str | Path | None = None,
    ) -> Frechet:
        """Measure the Frechet distance of images that a model draws.

        For scale, the table also has the distance between training images and those of the split (or test images, with
        --split train), or between two sets of draws of the other run, which is not 0 either. Distances depend on the
        features: only those by Inception are the FID, which needs pip install 'ppl-vae[fid]' and the weights. The
        classifier is trained on the run's labelled training images and stored in RUN/classifier.safetensors; only
        distances by the same classifier, whose digest the table shows, can be compared. Writes
        frechet-REFERENCE-FEATURES.json into the run.

        Arguments:
            against: Folder of a run with images of whose model to compare; by default with the images of the split.
            images: Number of images that each model draws.
            means: Compare the means of p(x | z) instead of samples.
            features: Features of a classifier trained on the run's labelled images, or of Inception (the FID).
            weights: File of Inception's weights, never downloaded; by default in torch's folder of downloads.
        """
        from ppl_vae.runs.frechet import measure_frechet

        return measure_frechet(cast("Run", self), split, data, against, images, means, features, weights)
