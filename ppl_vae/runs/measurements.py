"""What a trained run can be asked: each method is a command of ``ppl-vae``, with its options, defaults and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

from msgspec import Meta

from ppl_vae.plugins.options import PluginChoice

if TYPE_CHECKING:
    from ppl_vae.diagnostics.gap.gap import Gap
    from ppl_vae.diagnostics.gap.ladder import Ladder
    from ppl_vae.diagnostics.information.curve import Curve
    from ppl_vae.diagnostics.information.information import Information
    from ppl_vae.diagnostics.retrieval.retrieval import Retrieval
    from ppl_vae.diagnostics.tightness.verdict import Tightness
    from ppl_vae.evidence.bdmc import BDMC
    from ppl_vae.evidence.plan import OptionValue
    from ppl_vae.evidence.results import Evidence
    from ppl_vae.runs.export_arviz import Exported
    from ppl_vae.runs.frechet import Frechet
    from ppl_vae.runs.open import Run
    from ppl_vae.runs.search import SearchResult, Written

__all__ = ["Measurements"]

Split = Literal["train", "validation", "test"]
Count = Annotated[int, Meta(ge=0)]
"""Number of data to measure; 0 for all."""
Positive = Annotated[int, Meta(ge=1)]
AtLeastTwo = Annotated[int, Meta(ge=2)]


class Measurements:
    """The measurements of a run; each is stored in its folder.

    ``split`` names the data to measure, and ``data`` is the size of a random sample of them; 0 takes all.
    """

    def evidence(
        self,
        method: Annotated[str, PluginChoice("evidence", ("auto",))] = "auto",
        *,
        split: Split = "test",
        data: Count = 0,
        draws: AtLeastTwo | None = None,
        check: bool | None = None,
        **options: OptionValue,
    ) -> Evidence:
        """Measure the evidence by another method or with more samples.

        A file evidence/NAME.py of the working folder adds a method of your own, with the arguments of its constructor
        as options. Writes evidence-SPLIT-METHOD.json and the values per datum into the run. After an interruption the
        same command resumes the measurement.

        Arguments:
            method: auto takes the first exact method that applies, else importance, and says why.
            draws: Samples per datum where needed, or annealing chains; by default 1000, of annealing 16.
            check: Measure what the method misses of the evidence of 20 data simulated from the model; by default where
                that is cheap.
            options: Options of the methods by name, such as temperatures.
        """
        from ppl_vae.runs.measure import measure_evidence

        return measure_evidence(cast("Run", self), split, method, draws, data, check, **options)

    def gap(
        self,
        *,
        split: Split = "test",
        data: Count = 0,
        method: Literal["auto", "enumeration", "ascent"] = "auto",
        steps: Annotated[int, Meta(ge=4)] = 600,
        draws: AtLeastTwo = 200,
        ladder: Sequence[str] | None = None,
        epochs: str | None = None,
    ) -> Gap | Ladder:
        """Split the gap into family gap and amortisation gap.

        \b
        enumeration   exact; discrete latents of at most 16 bits together
        ascent        the best member of the guide's family by gradient ascent for each
                      datum: bits, categoricals, normals, full covariances

        With a ladder of guides such as linear_counts,mean_field,full (from the smallest family up) each guide is fitted
        to the training data of the run, and the gain of each step is shown, up to the evidence. Fits are stored in
        RUN/ladder; after an interruption the same command resumes them. Writes gap-SPLIT.json (ladder-SPLIT.json), the
        values per datum and a figure into the run.

        Arguments:
            method: auto enumerates where it can.
            steps: Steps of the gradient ascent.
            draws: Draws per datum where they are needed.
            ladder: Names or files of guides to fit to the run's fixed model, and to compare.
            epochs: Maximum number of epochs per guide of the ladder; by default as the run.
        """
        from ppl_vae.runs.gap import measure_gap, measure_ladder

        if ladder is None and epochs is not None:
            raise ValueError("epochs applies to fitted guides: name them with --ladder")
        run, how = cast("Run", self), {"method": method, "steps": steps, "draws": draws}
        if ladder is not None:
            return measure_ladder(run, split, data, list(ladder), epochs, **how)
        return measure_gap(run, split, data, **how)  # type: ignore[arg-type]

    def tightness(self, *, split: Split = "test", data: Count = 0, draws: AtLeastTwo | None = None) -> Tightness:
        """Test whether the posterior lies in the guide's family.

        Only then can the gap be closed. The posterior is in the family if log p(x, z) is, for each datum, an affine
        function of the family's statistics (z itself for bits, z and its square for normals). If it is not, no network
        closes the gap: take a wider family, such as the guide "full", or a decoder nearer to affine. If it is,
        coefficients linear in x are enough, and a gap that remains is due to training.

        "Unexplained share" is the share of the variance of log p(x, z) over z that the best affine function does not
        explain, for z of the guide (where the bound is computed) and of the prior (everywhere). Coefficients "linear in
        x" are one map from x for all data. Needs no training; exact up to 16 bits, from draws beyond. The longest codes
        take a second per datum: take a sample, --data 200. Writes tightness-SPLIT.json, the values per datum and a
        figure into the run.

        Arguments:
            draws: Draws per datum, where the states are too many; by default four per statistic, at least 100.
        """
        from ppl_vae.runs.measure import measure_tightness

        return measure_tightness(cast("Run", self), split, draws, data)

    def information(
        self, *, split: Split = "test", data: Count = 0, draws: AtLeastTwo = 100, codes: AtLeastTwo = 10_000
    ) -> Information:
        """Measure rate, distortion, mutual information, active units.

        Writes information-SPLIT.json, the values per datum and a figure into the run.

        Arguments:
            draws: Draws per datum where needed.
            codes: Maximum number of codes compared with all data, where they are not enumerated.
        """
        from ppl_vae.runs.measure import measure_information

        return measure_information(cast("Run", self), split, draws, codes, data)

    def curve(
        self,
        *,
        split: Split = "test",
        data: Count = 0,
        betas: Sequence[float] = (8, 4, 2, 1.5, 1, 0.7, 0.5, 0.25, 0.125),
        method: Literal["auto", "enumeration", "annealing"] = "auto",
        chains: AtLeastTwo = 16,
        temperatures: Positive = 500,
        leapfrog_steps: Positive = 5,
        draws: AtLeastTwo = 100,
    ) -> Curve:
        """Measure the rate-distortion curve of a decoder.

        For each weight beta of the rate, the smallest D + beta R of any encoder with this prior and decoder: exact for
        codes of at most 16 bits, else by one annealed run from the prior for all weights. The excess of the guide above
        the curve is its loss at that weight, at beta = 1 the gap. Annealing takes minutes for some hundred data: begin
        with --data 100. Writes curve-SPLIT.json, the values per datum and a figure into the run.

        Arguments:
            betas: Weights of the rate.
            method: auto enumerates up to 16 bits, else anneals.
            chains: Annealing chains per datum.
            temperatures: Steps of annealing.
            leapfrog_steps: Leapfrog steps of a move.
            draws: Draws of the guide per datum.
        """
        from ppl_vae.runs.measure import measure_curve

        how = {"chains": chains, "temperatures": temperatures, "leapfrog_steps": leapfrog_steps, "draws": draws}
        return measure_curve(cast("Run", self), split, data, betas=tuple(betas), method=method, **how)

    def sandwich(
        self,
        *,
        split: Split = "test",
        data: Count = 0,
        draws: AtLeastTwo = 16,
        temperatures: Positive = 500,
        leapfrog_steps: Positive = 5,
        start: Literal["guide", "prior"] = "guide",
    ) -> BDMC:
        """Bound the evidence of simulated data from below and above.

        Simulated data come with an exact draw from their posterior, from which annealing can also run backwards: the
        evidence lies between the two bounds. Their distance shows how accurate annealing with these options is on real
        data. Simulated data have the shapes (documents: the lengths) of those of the split.

        Arguments:
            draws: Chains per datum and direction.
            temperatures: Steps from the starting distribution to the posterior.
            leapfrog_steps: Leapfrog steps of a Hamiltonian move.
            start: Distribution that the chains start from.
        """
        from ppl_vae.evidence.ais import Schedule
        from ppl_vae.runs.measure import measure_sandwich

        return measure_sandwich(cast("Run", self), split, draws, data, Schedule(temperatures, leapfrog_steps, start))

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
    ) -> Written:
        """Write the binary codes of a run's data.

        Codes are packed, eight bits per byte, for NumPy, faiss, or a database: SPLIT_codes, and SPLIT_labels,
        SPLIT_titles and label_names where the corpus has them.

        Arguments:
            split: Data to encode.
            out: Path of the file; by default RUN/codes.npz.
            how: Take each bit's more probable value, its side of the training median, or a draw.
        """
        from ppl_vae.runs.search import write_codes

        return write_codes(cast("Run", self), split, None if out is None else Path(out), how)

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

    def retrieval(self, *, split: Split = "test", data: Count = 0, k: Positive = 100) -> Retrieval:
        """Measure how well codes retrieve documents of one class.

        Queries are the documents of the split; the database holds the training documents (and the validation documents,
        if the queries are test documents). Documents are ranked by Hamming distance, and the precision is the
        expectation over random orders of ties. Baselines are the cosine of words weighted by rarity, and chance.

        Writes retrieval-SPLIT.json, the precision of each query, and a figure of precision against recall into the run.

        Arguments:
            k: Number of documents that each query retrieves.
        """
        from ppl_vae.runs.search import measure_retrieval

        return measure_retrieval(cast("Run", self), split, k, data)

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
