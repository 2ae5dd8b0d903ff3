"""Finding models and guides by path or name, and turning their constructors into options."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyro
import torch
from torch import Tensor

from ppl_vae.data import corpora, find_reader
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, Inputs, examples, main_field
from ppl_vae.data.passes import classes
from ppl_vae.nn.modes import evaluating, probing_shapes
from ppl_vae.nn.spread import FEWEST, location_and_spread
from ppl_vae.plugins import discovery
from ppl_vae.plugins.discovery import Kind, Plugin
from ppl_vae.plugins.options import Option, options_of
from ppl_vae.plugins.user_files import digest_of
from ppl_vae.programs.arguments import argument_names
from ppl_vae.programs.densities import innermost
from ppl_vae.programs.forms import Form, choose, is_pair, offers
from ppl_vae.programs.handlers import Site, run, total
from ppl_vae.programs.masked import masks_verified
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program

__all__ = [
    "Definition",
    "Kind",
    "available",
    "check_fit",
    "facts",
    "find",
    "find_pair",
    "guide_beside",
]


@dataclass(frozen=True)
class Definition(Plugin):
    """A model or guide, and the file it comes from.

    Arguments:
        target: The class, or the program itself: a function, a method or a module.
        form: Which of these: a class of modules, a class with methods ``model`` and ``guide``, or a program.
        module: The file as it was run; None of an object of a session.
    """

    target: Any = None  # by its form
    form: Form = "class"
    module: ModuleType | None = None

    @classmethod
    def of_object(cls, kind: Kind, target: Program) -> Definition:
        """The definition of a class or program of a Python session."""
        form: Form = "program" if not isinstance(target, type) else "pair" if is_pair(target) else "class"
        return cls(kind, Path(), False, "", target, form)

    @property
    def program(self) -> Program:
        """The function that is run."""
        result: Program = (
            getattr(self.target, self.singular) if self.form == "pair" else getattr(self.target, "forward", self.target)
        )
        return result

    @property
    def sha256(self) -> str:
        """Digest of what was run, in hexadecimal."""
        return super().sha256 if self.shipped or self.module is None else digest_of(self.module)

    @property
    def summary(self) -> str:  # type: ignore[override]
        """First sentence of the docstring, without its formulas."""
        text = inspect.getdoc(self.target) or ""
        return " ".join(text.split("\n\n")[0].split())

    @property
    def data(self) -> type:
        """The kind of batch the model takes, by the annotation of its ``x``: packed counts or tensors."""
        try:
            hint = typing.get_type_hints(self.program).get("x")
        except (NameError, TypeError):  # an annotation for readers only; a program that has none
            hint = None
        return PackedCounts if hint is PackedCounts else torch.Tensor

    @property
    def corpus(self) -> str:
        """What the model is trained on where nothing is named: its attribute ``corpus``, else one of its kind."""
        return str(getattr(self.target, "corpus", "docstrings" if self.data is PackedCounts else "gaussians"))

    def check_corpus(self, name: str) -> None:
        """Refuses data that the model does not read, before they are loaded.

        Raises:
            ValueError: If the corpus holds documents and the model reads tensors, or the other way round, naming those
                that fit; or if there is no such corpus.
        """
        reader, wanted = find_reader(name), _DATA[self.data]
        kind = reader.kind
        if not reader.holds(self.data):
            if not reader.named and not Path(name).exists():
                raise ValueError(f"there is no file {name}; check the path (--corpus)")
            remedy = f"choose a corpus of {wanted}: {', '.join(corpora(self.data))}"
            if self.data is not PackedCounts and not self.shipped:
                remedy += f"; if the model reads documents, annotate x of its forward in {self.file} as PackedCounts"
            raise ValueError(f"model {self.name} reads {wanted}, but {name} holds {_DATA[kind]} (--corpus); {remedy}")

    def facts(self, x: Batch) -> dict[str, Any]:
        """What the constructor takes of the :func:`facts` of some data, and ``data_mean`` and ``data_spread``.

        These two are the mean and the spread of each number of a datum, of the shape of a datum.
        """
        if self.form == "program":
            return {}
        taken = inspect.signature(self.target.__init__).parameters
        known, main = facts(x, self.arguments), main_field(x)
        if MOMENTS & taken.keys() and isinstance(main, Tensor) and len(main) >= FEWEST:
            known |= dict(zip(("data_mean", "data_spread"), _moments(main), strict=True))
        return {name: value for name, value in known.items() if name in taken}

    @property
    def arguments(self) -> list[str]:
        """Names of what the program takes, fields of the data."""
        return [name for name in argument_names(self.program) if name != "self"]

    def options(self) -> list[Option]:
        """The constructor's arguments, less those that come from the data or the model.

        One with a default that no option can express keeps it.

        Raises:
            ValueError: If an argument without a default has no annotation, or one that no option can express.
        """
        if self.form == "program" or (self.form == "pair" and self.kind == "guides"):
            return []
        fields = {f"{name}_{fact}" for name in self.arguments for fact in ("shape", "classes")}
        given = {"model", "x"} if self.kind == "guides" else FACTS | fields
        return options_of(self.target, given, str(self.file), strict=self.shipped)

    @property
    def chosen_by(self) -> str:
        """The name in a configuration: of a user's file its whole path."""
        if self.shipped:
            return self.name
        return discovery.joined_name(self.file.resolve(), self.item)


_DATA = {PackedCounts: "documents", torch.Tensor: "tensors"}

SIZES = ("x_dim", "input_dim", "input_size", "data_dim", "vocab_size")
"""Constructor arguments of models that are the number of entries of a datum."""

MOMENTS = {"data_mean", "data_spread"}
"""Constructor arguments of models that are the mean and the spread of each number of a datum."""

FACTS = {"vocabulary", "unigram", "shape", *SIZES, *MOMENTS}
"""Constructor arguments of models that the data supply."""


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Location and spread of each number (:func:`~ppl_vae.nn.spread.location_and_spread`), ``x.shape[1:]`` each."""
    few = examples(x, 2**13)
    assert isinstance(few, Tensor)
    location, spread = location_and_spread(few)
    return location.reshape(x.shape[1:]), spread.reshape(x.shape[1:])


def facts(x: Batch, names: Sequence[str] = ()) -> dict[str, Any]:
    """What training data tell a model's constructor.

    Arguments:
        x: The data.
        names: Names of the model's arguments, by which fields without a name of their own are called.

    Returns:
        For documents: ``vocabulary``, and ``unigram``, the word frequencies with one more of each word, so that
        none is zero. For tensors: ``shape`` of a datum. Also the number of its entries, by each of the names in use. Of
        each field y of a batch of several, ``y_shape``, and of whole numbers from 0 ``y_classes``, one more than the
        largest.
    """
    main, known = main_field(x), dict[str, Any]()
    if isinstance(x, Inputs):
        for name, field in x.fields(names).items():
            known[f"{name}_shape"] = tuple(field.shape[1:])
            if isinstance(field, Tensor) and (count := classes(field)) is not None:
                known[f"{name}_classes"] = count
    if not isinstance(main, PackedCounts):
        shape = tuple(main.shape[1:])
        return known | {"shape": shape} | dict.fromkeys(SIZES, math.prod(shape))
    counts = main.totals + 1
    sizes = dict.fromkeys(SIZES, main.vocabulary)
    return known | {"vocabulary": main.vocabulary, "unigram": (counts / counts.sum()).float()} | sizes


def check_fit(model: torch.nn.Module, x: Batch) -> None:
    """Refuses data that a model does not score one by one, such as images given to a model of vectors.

    Raises:
        ValueError: Naming the shape of a datum, the site that does not take it, and the shape it has.
    """
    # Whether values lie in the support of their sites is another question, asked of all data.
    with evaluating(model), fork_random_state(), probing_shapes(), masks_verified(model, x):
        sites = run(model, (x,), {}, draws=1)
        try:
            with pyro.validation_enabled(False):
                # Broadcasting lets some wrong shapes through, with another number of densities than data.
                total(sites, "model").expand(1, len(x))
        except (ValueError, RuntimeError) as error:
            if isinstance(error, ValueError) and error.__cause__ is None:
                raise  # of the program whatever the data, such as its plates
            shape = x if isinstance(x, Inputs) else f"shape {tuple(x.shape[1:])}"
            raise ValueError(
                f"data of {shape} do not fit the model ({_misfit(sites) or error}); build it from "
                "the shape of the data, which a constructor's argument shape is given, or choose data of its shape "
                "(--corpus)"
            ) from error


def _misfit(sites: Mapping[str, Site]) -> str | None:
    """The first site whose distribution does not score its value, with both shapes of a datum."""
    for name, site in sites.items():
        wanted, value = tuple(site["fn"].event_shape), site["value"]
        if isinstance(value, PackedCounts):
            kind = type(innermost(site["fn"])).__name__
            return f"site {name!r} observes documents, which PackedMultinomial scores, a {kind} does not"
        shape = tuple(value.shape[value.ndim - len(wanted) :])
        if site["is_observed"] and shape == wanted:
            shape = tuple(value.shape[1:])
        if shape != wanted:
            return f"site {name!r} observes values of shape {shape}, but its distribution has shape {wanted}"
    return None


def available(kind: Kind) -> tuple[list[Definition], dict[str, str]]:
    """All shipped definitions and those of the working folder; a user's own wins over a shipped one of its name.

    Returns:
        The definitions, and the names of files that are none with the reason.
    """
    definitions, broken = [], {}
    for name in discovery.available(kind):
        try:
            definitions.append(find(kind, name))
        except ValueError as error:
            broken[f"{kind}/{name}.py"] = str(error)
    return definitions, broken


def find(kind: Kind, name: str, *, own: bool = True, sha256: str | None = None) -> Definition:
    """A model or guide by path (``models/text.py``) or name (``text``).

    A file of the working folder wins over a shipped one of the same name.

    Arguments:
        kind: Which folder.
        name: Or path.
        own: Whether the working folder is looked at, too: an experiment means the shipped ones.
        sha256: The digest that a user's file must have.

    Raises:
        ValueError: If there is none, listing the choices; or if its file does not load, with the reason, or has another
            digest.
    """
    plugin = discovery.find(kind, name, own=own)
    module = plugin.load(sha256)
    offer = choose(module, kind, plugin.file, plugin.item)  # type: ignore[arg-type]
    return Definition(kind, plugin.file, plugin.shipped, plugin.item, offer.value, offer.form, module)


def find_pair(model: str, guide: str | None = None) -> tuple[Definition, Definition]:
    """A model, and the guide that goes with it: the one named, else that of the model's file, else ``mean_field``.

    Arguments:
        model: Name or path of the model.
        guide: Name or path of the guide.

    Raises:
        ValueError: As :func:`find`.
    """
    definition = find("models", model)
    return definition, find("guides", guide) if guide is not None else guide_beside(definition)


def guide_beside(model: Definition) -> Definition:
    """The guide that the file of a model has, else ``mean_field``."""
    if model.form == "pair":
        return replace(model, kind="guides")
    if not model.shipped and model.module is not None and offers(model.module, "guides"):
        return find("guides", str(model.file))
    return find("guides", "mean_field")
