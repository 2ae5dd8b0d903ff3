"""Finding models and guides by path or name, and turning their constructors into options."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import typing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from pyro.nn import PyroModule

from ppl_vae.data import DOCUMENTS, TENSORS, data_of
from ppl_vae.data.counts import PackedCounts
from ppl_vae.nn.modes import alone, evaluating
from ppl_vae.programs.handlers import run, total
from ppl_vae.programs.random_state import fork_random_state

__all__ = ["Definition", "Option", "available", "check_fit", "facts", "find", "load_file"]

Kind = Literal["models", "guides"]


@dataclass(frozen=True)
class Option:
    """An argument of a model's or guide's constructor that a user may set.

    Arguments:
        name: Of the argument.
        type: Its annotation: int, float, bool, str or a tuple of choices.
        default: None where the user must give a value.
        help: Its line in the docstring.
    """

    name: str
    type: Any
    default: Any
    help: str


@dataclass(frozen=True)
class Definition:
    """A model or guide class and the file it comes from."""

    kind: Kind
    file: Path
    shipped: bool
    target: type

    @property
    def name(self) -> str:
        return self.file.stem

    @property
    def summary(self) -> str:
        """First sentence of the class's docstring, without its formulas."""
        text = inspect.getdoc(self.target) or ""
        return " ".join(text.split("\n\n")[0].split())

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    @property
    def data(self) -> type:
        """The kind of batch the model's ``forward`` takes, by its annotation: packed counts or tensors."""
        hint = typing.get_type_hints(self.target.forward).get("x")  # type: ignore[attr-defined]
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
        there, (words, fitting) = data_of(name), _DATA[self.data]
        if there is not self.data:
            remedy = f"choose a corpus of {words}: {', '.join(fitting)}"
            if self.data is not PackedCounts and not self.shipped:
                remedy += f"; if the model reads documents, annotate x of its forward in {self.file} as PackedCounts"
            raise ValueError(
                f"model {self.name} reads {words}, but {name} holds {_DATA[there][0]} (--corpus); {remedy}"
            )

    def facts(self, x: Any) -> dict[str, Any]:
        """What the constructor takes of the :func:`facts` of some data."""
        taken = inspect.signature(self.target.__init__).parameters  # type: ignore[misc]
        return {name: value for name, value in facts(x).items() if name in taken}

    def options(self) -> list[Option]:
        """The constructor's arguments, less those that come from the data or the model.

        Raises:
            ValueError: If an argument has no annotation, or one that no option can express.
        """
        given = {"self", "model", "x"} if self.kind == "guides" else {"self"} | FACTS
        constructor = self.target.__init__  # type: ignore[misc]
        hints = typing.get_type_hints(constructor)
        described = _described(inspect.getdoc(self.target) or "")
        found = []
        for name, argument in inspect.signature(constructor).parameters.items():
            if name in given or argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
                continue
            hint = hints.get(name)
            if typing.get_origin(hint) is Literal:
                hint = typing.get_args(hint)
            elif hint not in (int, float, bool, str):
                raise ValueError(
                    f"{self.file}: argument {name!r} of {self.target.__name__} is annotated {hint}; an option needs "
                    "int, float, bool, str or Literal"
                )
            default = None if argument.default is argument.empty else argument.default
            found.append(Option(name, hint, default, described.get(name, "")))
        return found


_DATA = {PackedCounts: ("documents", DOCUMENTS), torch.Tensor: ("tensors", TENSORS)}

FACTS = {"vocabulary", "unigram", "shape"}
"""Constructor arguments of models that the data supply."""


def facts(x: Any) -> dict[str, Any]:
    """What training data tell a model's constructor.

    Returns:
        For documents: ``vocabulary``, and ``unigram``, the word frequencies with one more of each word, so that
        none is zero. For tensors: ``shape`` of a datum.
    """
    if not isinstance(x, PackedCounts):
        return {"shape": tuple(x.shape[1:])}
    counts = torch.bincount(x.words.cpu(), x.counts.cpu().double(), minlength=x.vocabulary) + 1
    return {"vocabulary": x.vocabulary, "unigram": (counts / counts.sum()).float()}


def check_fit(model: torch.nn.Module, x: Any) -> None:
    """Refuses data that a model does not score one by one, such as images given to a model of vectors.

    Raises:
        ValueError: Naming the shape of a datum, and what is wrong with it.
    """
    with evaluating(model), fork_random_state(), alone():
        sites = run(model, (x,), {}, draws=1)
        try:
            # Broadcasting lets some wrong shapes through, with another number of densities than data.
            total(sites, "model").expand(1, len(x))
        except (ValueError, RuntimeError) as error:
            shape = tuple(x.shape[1:])
            raise ValueError(f"data of shape {shape} do not fit the model ({error}); choose another corpus") from error


def _described(doc: str) -> dict[str, str]:
    """Lines of a docstring's "Arguments:" section by argument."""
    section = re.search(r"^Arguments:\n((?:[ ]+.*\n?|\n)*)", doc, re.MULTILINE)
    if section is None:
        return {}
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section.group(1), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _shipped(kind: Kind) -> dict[str, Path]:
    package = importlib.import_module(f"ppl_vae.{kind}")
    assert package.__file__ is not None
    return {p.stem: p for p in sorted(Path(package.__file__).parent.glob("*.py")) if p.stem != "__init__"}


def _own(kind: Kind) -> dict[str, Path]:
    return {p.stem: p for p in sorted(Path(kind).glob("*.py")) if p.stem != "__init__"}


def available(kind: Kind) -> tuple[list[Definition], dict[str, str]]:
    """All shipped definitions and those of the working folder; a user's own wins over a shipped one of its name.

    Returns:
        The definitions, and the names of files that are none with the reason.
    """
    found, broken = [], {}
    for name in sorted(_shipped(kind) | _own(kind)):
        try:
            found.append(find(kind, name))
        except ValueError as error:
            broken[f"{kind}/{name}.py"] = str(error)
    return found, broken


def find(kind: Kind, name: str, *, own: bool = True) -> Definition:
    """A model or guide by path (``models/text.py``) or name (``text``).

    A file of the working folder wins over a shipped one of the same name.

    Arguments:
        kind: Which folder.
        name: Or path.
        own: Whether the working folder is looked at, too: an experiment means the shipped ones.

    Raises:
        ValueError: If there is none, listing the choices; or if its file does not load, with the reason.
    """
    path = Path(name)
    shipped = _shipped(kind)
    if path.suffix == ".py" and path.is_file():
        file = path
    elif own and path.stem in _own(kind) and path.parent in (Path("."), Path(kind)):
        file = _own(kind)[path.stem]
    elif path.stem in shipped and path.suffix in ("", ".py") and path.parent in (Path("."), Path(kind)):
        file = shipped[path.stem]
    elif path.suffix == ".py":
        raise ValueError(
            f"there is no file {name} (working folder {Path.cwd()}), nor a shipped {kind[:-1]} of that name"
        )
    else:
        choices = ", ".join(sorted(shipped | _own(kind)))
        raise ValueError(f"there is no {kind[:-1]} {name!r}; choose from {choices}, or give the path of a .py file")
    is_shipped = file.stem in shipped and file.resolve() == shipped[file.stem].resolve()
    module = importlib.import_module(f"ppl_vae.{kind}.{file.stem}") if is_shipped else load_file(file)
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__ and issubclass(value, PyroModule)
    ]
    named = [c for c in classes if c.__name__.lower() == file.stem.replace("_", "").lower()] or classes
    if len(named) != 1:
        found = ", ".join(c.__name__ for c in classes) or "none"
        raise ValueError(f"{file} must define one PyroModule, or one named after the file; it defines {found}")
    return Definition(kind, file, is_shipped, named[0])


def load_file(file: Path) -> ModuleType:
    """Runs a user's file as a module, from which it may import its neighbours."""
    if str(file.parent.resolve()) not in sys.path:
        sys.path.append(str(file.parent.resolve()))
    name = f"_ppl_vae_user_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{file} does not load: {type(error).__name__}: {error}") from error
    return module
