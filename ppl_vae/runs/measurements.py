"""What a trained run can be asked: each method is a command of ``ppl-vae``, with its options, defaults and numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from msgspec import Meta

from ppl_vae.plugins.options import PluginChoice
from ppl_vae.runs.uses import AtLeastTwo, Count, Positive, Split, Uses

if TYPE_CHECKING:
    from ppl_vae.diagnostics.calibration.result import Calibration
    from ppl_vae.diagnostics.gap.gap import Gap
    from ppl_vae.diagnostics.gap.ladder import Ladder
    from ppl_vae.diagnostics.information.curve import Curve
    from ppl_vae.diagnostics.information.information import Information
    from ppl_vae.diagnostics.tightness.verdict import Tightness
    from ppl_vae.evidence.bdmc import BDMC
    from ppl_vae.evidence.plan import OptionValue
    from ppl_vae.evidence.results import Evidence
    from ppl_vae.runs.open import Run
    from ppl_vae.runs.remedy import RemedyResult

__all__ = ["Measurements"]


class Measurements(Uses):
    """The measurements of a run; each is stored in its folder.

    ``split`` names the data to measure, ``data`` is the size of a random sample of them, 0 all, and blocks of them are
    measured by an ``engine``, which has the options of :class:`~ppl_vae.runs.engines.base.Engine`.
    """

    def evidence(
        self,
        method: Annotated[str, PluginChoice("evidence", ("auto",))] = "auto",
        *,
        split: Split = "test",
        data: Count = 0,
        draws: AtLeastTwo | None = None,
        check: bool | None = None,
        refine: Count = 0,
        engine: Annotated[str, PluginChoice("engines")] = "local",
        jobs: Positive = 1,
        address: str | None = None,
        threads: Positive | None = None,
        retry: Count | None = None,
        **options: OptionValue,
    ) -> Evidence:
        """Measure the evidence by another method or with more samples.

        A file evidence/NAME.py of the working folder adds a method of your own, with the arguments of its constructor
        as options. Writes evidence-SPLIT-METHOD.json (refined-SPLIT-METHOD.json) and the values per datum into the run.
        After an interruption the same command resumes the measurement.

        Arguments:
            method: auto takes the first exact method that applies, else importance, and says why.
            draws: Samples per datum where needed, or annealing chains; by default 1000, of annealing 16.
            check: Measure what the method misses of the evidence of 20 data simulated from the model; by default where
                that is cheap.
            refine: Steps of gradient ascent for each datum, from the guide's output, after which it is measured; or 0.
            options: Options of the methods by name, such as temperatures.
        """
        from ppl_vae.runs.evidence import measure_evidence

        where = {"name": engine, "jobs": jobs, "address": address, "threads": threads, "retry": retry}
        return measure_evidence(cast("Run", self), split, method, draws, data, check, refine, where, **options)

    def gap(
        self,
        *,
        split: Split = "test",
        data: Count = 0,
        method: Literal["auto", "enumeration", "ascent"] = "auto",
        steps: Annotated[int, Meta(ge=4)] = 600,
        draws: AtLeastTwo = 200,
        restarts: Positive = 4,
        check: Count = 20,
        evidence: Annotated[str, PluginChoice("evidence", ("auto",))] = "auto",
        evidence_draws: AtLeastTwo | None = None,
        check_evidence: bool | None = None,
        refine: Count = 0,
        ladder: Sequence[str | Callable[..., object]] | None = None,
        epochs: str | None = None,
        engine: Annotated[str, PluginChoice("engines")] = "local",
        jobs: Positive = 1,
        address: str | None = None,
        threads: Positive | None = None,
        retry: Count | None = None,
        **options: OptionValue,
    ) -> Gap | Ladder:
        """Split the gap into family gap and amortisation gap.

        \b
        enumeration   exact; discrete latents of at most 16 bits together
        ascent        the best member of the guide's family by gradient ascent for
                      each datum: bits, categoricals, normals, full covariances

        With a ladder of guides such as linear_counts,mean_field,full (from the smallest family up) each guide is fitted
        to the training data of the run, and the gain of each step is shown, up to the evidence. Fits are stored in
        RUN/ladder; after an interruption the same command resumes them. Writes gap-SPLIT.json (ladder-SPLIT.json), the
        values per datum and a figure into the run.

        Arguments:
            method: auto enumerates where it can.
            steps: Steps of the gradient ascent.
            draws: Draws per datum where they are needed.
            restarts: Starts of the gradient ascent that go on to the end; there are twice as many at first.
            check: Data for which it is checked how far the member found is from the best: of at most 12 independent
                bits by branch and bound, else, where latents are enumerated, by more starts; 0 for none.
            evidence: Evidence method of the ascent, one of ``ppl-vae list evidence``; auto takes the first exact one
                that applies, else importance.
            evidence_draws: Samples of the evidence per datum, or annealing chains; by default those of --draws, of a
                method that is named as many as it usually takes.
            check_evidence: Measure what the evidence method misses of the evidence of 20 data simulated from the model;
                by default where that is cheap.
            refine: Steps of gradient ascent for each datum from the guide's output, whose ELBO is shown; 0 for none.
            ladder: Names or files of guides to fit to the run's fixed model, and to compare; in Python also guides
                that are fitted already.
            epochs: Maximum number of epochs per guide of the ladder; by default as the run.
            options: Options of the evidence methods by name, such as temperatures.
        """
        from ppl_vae.runs.gap import measure_gap, measure_ladder

        where = {"name": engine, "jobs": jobs, "address": address, "threads": threads, "retry": retry}
        if ladder is None and epochs is not None:
            raise ValueError("epochs applies to fitted guides: name them with --ladder")
        run = cast("Run", self)
        how: dict[str, Any] = {"method": method, "steps": steps, "draws": draws, "restarts": restarts, "check": check}
        if ladder is not None:
            if evidence != "auto" or evidence_draws is not None or check_evidence is not None or refine or options:
                raise ValueError(
                    "evidence methods and refinement apply to the split of the run's own gap: leave out the ladder"
                )
            how |= {"engine": where}
            return measure_ladder(run, split, data, list(ladder), None if epochs is None else str(epochs), **how)
        how |= {"refine": refine, "evidence": evidence, "evidence_draws": evidence_draws}
        how |= {"check_evidence": check_evidence, "engine": where}
        return measure_gap(run, split, data, **how, **options)  # type: ignore[arg-type]

    def remedy(
        self,
        *,
        data: Count = 200,
        epochs: str | None = None,
        budget: Count = 600,
        refine: Count = 50,
        draws: AtLeastTwo = 200,
        steps: Annotated[int, Meta(ge=4)] = 600,
        restarts: Positive = 4,
    ) -> RemedyResult:
        """Name the cause of a gap, and measure what mends it.

        Splits the gap of training and validation data, and fits guides against its cause to the fixed model, so that
        the evidence stays what it is: where the network overfits, on data that the model draws beside the training
        data; where it falls short, for longer and with another network; where the family is too small, a richer one.
        The guide with the highest validation ELBO is chosen, if it gains more than twice its error, and measured once
        on test data, alone and refined for each datum by gradient steps.

        Fits and measurements are stored in RUN/remedies; after an interruption the same command resumes. Writes
        remedy.json, and remedies-SPLIT.json with the values per datum and a figure, into the run. In Python the result
        holds the guide chosen, ``result.guide``.

        Arguments:
            data: Number of data of each split that are measured, drawn at random; 0 for all.
            epochs: Maximum number of epochs per fit; by default as the run.
            budget: Seconds of fitting after which no further fit begins; 0 is no limit.
            refine: Steps of gradient ascent for each datum from the output of the guide chosen; 0 for none.
            draws: Draws per datum where they are needed.
            steps: Steps of the gradient ascent to the best members, where latents are not enumerated.
            restarts: Starts of it that go on to the end.
        """
        from ppl_vae.runs.remedy import find_remedy

        how = {"draws": draws, "steps": steps, "restarts": restarts}
        given = None if epochs is None else str(epochs)
        return find_remedy(cast("Run", self), data=data, epochs=given, budget=budget, refine=refine, **how)

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

    def calibrate(
        self, *, split: Split = "test", data: Count = 0, simulated: AtLeastTwo = 1000, draws: Positive = 99
    ) -> Calibration:
        """Test the calibration of a guide on simulated data.

        Does q(z|x) put its mass where the posterior has its own? Data are simulated from the model; the latents they
        were made from are a sample of their posterior, which a calibrated guide cannot tell from its own. Tested are
        the rank of each latent and of the densities among the guide's samples (simulation-based calibration), the
        probability integral of each bit, and the coverage of regions around random points (TARP). Ties of discrete
        latents are taken in random order, so that a calibrated guide is called miscalibrated, in anything, with a
        probability of at most 5%.

        A guide is too narrow, too wide or shifted on average over the data; one that is off in another direction for
        each datum is too narrow. That nothing is found does not show that the guide is calibrated. Simulated data have
        the shapes (documents: the lengths) of those of the split. Writes calibration-SPLIT.json, the ranks and a figure
        into the run.

        Arguments:
            simulated: Number of simulated data.
            draws: Samples of the guide for each.
        """
        from ppl_vae.runs.measure import measure_calibration

        return measure_calibration(cast("Run", self), split, data, simulated, draws)

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
        start: Literal["both", "guide", "prior"] = "both",
    ) -> BDMC:
        """Bound the evidence of simulated data from below and above.

        Simulated data come with an exact draw from their posterior, from which annealing can also run backwards: the
        evidence lies between the two bounds. Their distance shows how accurate annealing with these options is on real
        data. Simulated data have the shapes (documents: the lengths) of those of the split.

        Arguments:
            draws: Chains per datum and direction.
            temperatures: Steps from the starting distribution to the posterior.
            leapfrog_steps: Leapfrog steps of a Hamiltonian move.
            start: Distribution that the chains start from; both is half of them from each.
        """
        from ppl_vae.evidence.ais import Schedule
        from ppl_vae.runs.measure import measure_sandwich

        return measure_sandwich(cast("Run", self), split, draws, data, Schedule(temperatures, leapfrog_steps, start))
