"""What a run trains: a typed record, held by the ``config.json`` of its folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import msgspec

from ppl_vae.data import Corpus, load_corpus
from ppl_vae.data.text_file import unquoted
from ppl_vae.objectives.divergence import Rate
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.plugins.options import PluginChoice
from ppl_vae.programs.canonical import Vectorise
from ppl_vae.programs.loading import Definition
from ppl_vae.runs.config_faults import fault_of
from ppl_vae.runs.devices import Device
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "OBJECT",
    "CorpusConfig",
    "OptionValue",
    "ProgramChoice",
    "RunConfig",
    "from_json",
    "to_json",
]

OptionValue = int | float | bool | str | None
"""What a constructor's option may be."""

OBJECT = " (object)"
"""Ends the names of models, guides and data that were objects of a Python program, which no file can bring back."""

R = TypeVar("R", bound="DataclassInstance")


@dataclass(frozen=True)
class ProgramChoice:
    """A model or guide file, and the options of its constructor.

    Arguments:
        name: Name of a shipped file, or path of the user's own, with ``:NAME`` where one of several in it is meant.
        sha256: Digest of the file.
        options: Constructor arguments by name.
    """

    name: str
    sha256: str
    options: dict[str, OptionValue] = field(default_factory=dict)

    @classmethod
    def of(cls, definition: Definition, options: dict[str, OptionValue] | None = None) -> ProgramChoice:
        """The choice of a file as it is now."""
        return cls(definition.chosen_by, definition.sha256, options or {})


@dataclass(frozen=True)
class CorpusConfig:
    """Arguments of :func:`~ppl_vae.data.load_corpus`.

    Arguments:
        name: Named corpus, or path.
        validation: Share of the training data held out.
        seed: Chooses the validation data.
        options: Options of the reader, such as ``vocabulary``.
    """

    name: str
    validation: float = 0.1
    seed: int = 0
    options: dict[str, int | float | bool | str] = field(default_factory=dict)

    def load(self, fingerprint: str | None = None) -> Corpus:
        """The corpus.

        Arguments:
            fingerprint: Of the data when the run began.

        Raises:
            ValueError: If the data have changed since.
        """
        named: dict[str, Any] = self.options  # each by the reader's own type
        corpus = load_corpus(name=self.name, validation=self.validation, seed=self.seed, **named)
        if fingerprint not in (None, corpus.fingerprint):
            raise ValueError(
                f"corpus {corpus.name} has changed since the run began (fingerprint {corpus.fingerprint[:12]}, the run "
                f"has {str(fingerprint)[:12]}); restore the data, or start a new run"
            )
        return corpus

    def __str__(self) -> str:
        values = {"name": self.name, **self.options, "validation": self.validation, "seed": self.seed}
        return ", ".join(f"{name} {value}" for name, value in values.items())


LATER = ("path_gradients",)
"""Entries that runs stored by earlier versions lack; their defaults are what those versions did."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All that determines a run.

    Arguments:
        model: The model.
        guide: The guide.
        corpus: The data.
        settings: How to train.
        rate_cost: Cost of the rate in the objective.
        objective: What to maximise: the ELBO (or another trade of rate and distortion); the likelihood, exact up to 10
            bits and importance-weighted beyond; with ``"sleep"``, the guide's log-density of latents drawn from the
            model together with data, which trains the guide alone; with ``"wake_sleep"``, or ``"symmetric"``, that for
            the guide and the ELBO for the model.
        estimator: Gradient estimator through discrete latents, by name or file; auto chooses by the pair.
        control: Control variate of the estimator; by default first_order for the estimators that take one.
        path_gradients: Whether the gradient of the likelihood's bound for the guide leaves out the guide's score
            (Tucker et al. 2019), which needs reparameterised latents.
        kl: How the rate is taken where no latent is discrete: in closed form where there is one, or from the draws.
        examples: Training data shown to the guide before training. It reads numbers in units of their spread there, and
            begins near the prior; with fewer than 16 it reads them as they are, and begins at random.
        plate: Name of the plate over data, where several have its size; by default it is found.
        vectorise: How the model takes many samples: as a dimension left of its plates, with the data repeated for each
            (fold), or run once for each (loop); by default they are tried in turn.
        start: Run whose trained parameters to begin with: the same pair, perhaps with other noise or objective.
        retrain: Whether to train afresh afterwards, on training and validation data for the epochs validation chose.
        device: Where to compute.
        evidence_draws: Draws per datum for the final evidence where it is not exact.
        evidence_data: Data of each split that the final table is measured on, drawn at random; 0 for all.
        fingerprint: Digest of the data.
        versions: Versions of the packages that the run began with.
        digests: Digests of the user's own estimator, reader and evidence methods, as the run began with them.
        chosen_estimator: The estimator that trains where ``estimator`` leaves it to the pair; written when the run
            begins, and kept when it resumes.
    """

    model: ProgramChoice
    guide: ProgramChoice
    corpus: CorpusConfig
    settings: Settings
    rate_cost: RateCost = RateCost()
    objective: Literal["elbo", "likelihood", "sleep", "wake_sleep", "symmetric"] = "elbo"
    estimator: Annotated[str, PluginChoice("estimators", ("auto",))] = "auto"
    control: Literal["first_order", "none"] | None = None
    path_gradients: bool = False
    kl: Rate = "closed_form"
    examples: Annotated[int, msgspec.Meta(ge=1)] = 512
    plate: str | None = None
    vectorise: Vectorise | None = None
    start: str | None = None
    retrain: bool = False
    device: Device = "cpu"
    evidence_draws: Annotated[int, msgspec.Meta(ge=2)] = 100
    evidence_data: Annotated[int, msgspec.Meta(ge=0)] = 0
    fingerprint: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    chosen_estimator: str | None = None

    @classmethod
    def of(cls, run: RunFolder) -> RunConfig:
        """The configuration of a run.

        Raises:
            ValueError: If its ``config.json`` has an unknown, missing or wrong entry, naming it.
        """
        return from_json(cls, run.config, run.folder / "config.json")

    @property
    def is_of_objects(self) -> bool:
        """Whether model, guide and data were objects of a Python program."""
        return self.corpus.name.endswith(OBJECT)

    @property
    def use_control(self) -> bool | None:
        """Whether the estimator takes the control variate; None leaves it to the estimator."""
        return None if self.control is None else self.control == "first_order"

    @property
    def objective_description(self) -> str:
        """``"elbo"`` or another objective by name, or the formula of another cost of the rate."""
        return self.objective if self.rate_cost == RateCost() else str(self.rate_cost)

    def load_corpus(self) -> Corpus:
        """The data, the same as when the run began; a ValueError says so if they are not."""
        return self.corpus.load(self.fingerprint)

    def differences(self, other: RunConfig) -> list[str]:
        """Entries in which another configuration differs, such as ``"settings.seed was 0 and is now 1"``.

        The data's fingerprint, the versions of packages and the digests of shipped files are left out, and so are
        epochs and patience that the other one leaves to the data.
        """
        other = replace(other, settings=other.settings.settled_as(self.settings))
        ours, theirs = self.entries(), other.entries()
        places = sorted(ours.keys() | theirs.keys())
        return [
            f"{place} was {ours.get(place)!r} and is now {theirs.get(place)!r}"
            for place in places
            if ours.get(place) != theirs.get(place)
        ]

    def entries(self) -> dict[str, object]:
        """What :meth:`differences` compares, by dotted places such as ``"settings.seed"``."""
        return _entries(to_json(self._comparable()))

    def _comparable(self) -> RunConfig:
        programs = (
            choice if Path(choice.name).suffix else replace(choice, sha256="") for choice in (self.model, self.guide)
        )
        return replace(
            self,
            model=next(programs),
            guide=next(programs),
            fingerprint=None,
            versions={},
            digests={},
            chosen_estimator=None,
        )


def to_json(record: DataclassInstance) -> dict[str, object]:
    """A record as JSON holds it."""
    content: dict[str, object] = msgspec.to_builtins(asdict(record))
    return content


def from_json(kind: type[R], content: dict[str, object], file: Path) -> R:
    """A record from what a file holds, every entry of which must be there, unless it is :data:`LATER`, with its type.

    Arguments:
        kind: The dataclass.
        content: The JSON object.
        file: Named by an error.

    Raises:
        ValueError: If an entry is unknown, missing, of a wrong type or out of range, naming it and the remedy.
    """
    try:
        record = msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        fault = fault_of(str(error), kind, content)
    else:
        found, expected = _entries(content), _entries(to_json(record))
        unknown = [place for place in found if not any(f"{other}.".startswith(f"{place}.") for other in expected)]
        there = {*found, *LATER}
        missing = [place for place in expected if not any(f"{other}.".startswith(f"{place}.") for other in there)]
        if not unknown and not missing:
            return record
        faults = [f"{unquoted(place)} is unknown" for place in unknown]
        faults += [f"{place} is missing" for place in missing]
        fault = "; ".join(faults[:5] + ["..."] * (len(faults) > 5))
    raise ValueError(f"{file}: {fault}; restore the file, or start a new run")


def _entries(content: dict[str, object], prefix: str = "") -> dict[str, object]:
    """The leaves of nested tables by their dotted places."""
    entries: dict[str, object] = {}
    for name, value in content.items():
        if isinstance(value, dict) and value:
            entries |= _entries(value, f"{prefix}{name}.")
        else:
            entries[prefix + name] = value
    return entries
