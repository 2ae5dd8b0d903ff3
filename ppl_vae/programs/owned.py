"""Programs as modules that own what they learn: functions, methods, and modules with ``pyro.param`` statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Self, TypeVar

from pyro import poutine
from torch import nn

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.modes import evaluating, probing_shapes
from ppl_vae.programs.arguments import call
from ppl_vae.programs.explain import explained
from ppl_vae.programs.kept_apart import keep_apart
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.statements import Parameters, StatementRecorder, Statements
from ppl_vae.programs.types import Program

__all__ = ["OwnedProgram", "owned"]

T = TypeVar("T")

STORE = "pyro_parameters"
"""Name of the submodule that holds the parameters of ``pyro.param`` statements."""


class OwnedProgram(nn.Module):
    """A function or a method as a module: it holds the networks and parameters that the program uses.

    Of a method it holds the object's, whose attributes it has, too. Of a function, the networks that are called, and
    those it registers are trained (``pyro.module``), as in Pyro.

    Arguments:
        program: The function or method.
        record: Of a run of it.
        beside: The model, where the program is its guide: what both use is held by the model.
    """

    def __init__(self, program: Program, record: StatementRecorder, beside: nn.Module | None) -> None:
        super().__init__()
        self.__dict__["program"], self.notes = program, list[str]()
        self.called = _Kept(record.called)
        owner, model = self.owner, beside if isinstance(beside, OwnedProgram) else None
        if not isinstance(owner, nn.Module):
            self._hold(record, model)
        elif model is not None and owner is model.owner:
            for name in model.release(record):
                self._modules[name] = getattr(owner, name)
        else:  # one object has one set of parameters, wherever they are moved
            self._parameters, self._buffers = owner._parameters, owner._buffers
            self._non_persistent_buffers_set = owner._non_persistent_buffers_set
            self._modules = dict(owner._modules)
        # A copy of a method belongs to a copy of its object; a copy of a function is the function.
        held = [] if isinstance(owner, nn.Module) else self._modules.items()
        self.originals = _Kept([(name, part) for name, part in held if part is not None])

    @property
    def owner(self) -> object:
        """The object whose method the program is, or None."""
        return getattr(self.__dict__["program"], "__self__", None)

    def release(self, record: StatementRecorder) -> list[str]:
        """Hands over to a guide of the same object the parts that it alone uses; returns their names."""
        parts = {name: part for name, part in self._modules.items() if part is not None and name != STORE}
        names = [n for n, part in parts.items() if _calls(record.called, part) and not _calls(self.called.value, part)]
        for name in names:
            del self._modules[name]
        return names

    def _hold(self, record: StatementRecorder, model: OwnedProgram | None) -> None:
        taken = set(model.modules()) if model is not None else set()
        held = {id(parameter) for parameter in model.parameters()} if model is not None else set[int]()
        inner = {child for module in record.called for child in module.modules() if child is not module}
        names = {id(parameter): name for name, parameter in record.registered.items()}
        for module in record.called:
            if module in inner or module in taken:
                continue
            name = _name(module, names, set(self._modules))
            self.add_module(name, module)
            parameters = list(module.parameters())
            held |= {id(parameter) for parameter in parameters}
            if parameters and not any(id(parameter) in names for parameter in parameters):
                module.requires_grad_(False)
                self.notes.append(f"{name} is not registered by pyro.module: it is not trained")
        for name, parameter in record.registered.items():
            if id(parameter) not in held:
                self.register_parameter(name.replace(".", "/"), parameter)

    def forward(self, *args: object, **kwargs: object) -> object:
        """Runs the program with what this module holds."""
        if isinstance(self.owner, nn.Module):
            self.owner.training = self.training
        with _standing_in(self.originals.value, self._modules):
            return self.__dict__["program"](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:  # what the object of a method has, of any type
        try:
            return super().__getattr__(name)
        except AttributeError:
            if "program" not in self.__dict__ or self.owner is None:
                raise
            return getattr(self.owner, name)


class _Kept(Generic[T]):
    """A value that a deep copy shares with its original."""

    def __init__(self, value: T) -> None:
        self.value = value

    def __deepcopy__(self, memo: object) -> Self:
        return self


def _calls(called: Iterable[nn.Module], part: nn.Module) -> bool:
    parts = set(part.modules())
    return any(module in parts for module in called)


def _name(module: nn.Module, registered: dict[int, str], taken: set[str]) -> str:
    """The name by which ``pyro.module`` registers a module, else that of its class."""
    name = type(module).__name__.lower()
    for inside, parameter in module.named_parameters():
        if id(parameter) in registered:
            name = registered[id(parameter)].removesuffix(inside).rstrip("$.").replace("$$$", "_").replace(".", "_")
            break
    numbered = (f"{name}_{number}" for number in range(2, len(taken) + 3))
    return name if name and name not in taken else next(other for other in numbered if other not in taken)


@contextmanager
def _standing_in(originals: list[tuple[str, nn.Module]], now: dict[str, nn.Module | None]) -> Iterator[None]:
    """Networks that a function refers to have the tensors of their copies, where the program is a copy."""
    pairs = [
        (one, other)
        for name, original in originals
        if (copy := now.get(name)) is not None and copy is not original
        for one, other in zip(original.modules(), copy.modules(), strict=True)
    ]
    before = [(one, one._parameters, one._buffers, one.training) for one, _ in pairs]
    for one, other in pairs:
        one._parameters, one._buffers, one.training = other._parameters, other._buffers, other.training
    try:
        yield
    finally:
        for one, parameters, buffers, training in before:
            one._parameters, one._buffers, one.training = parameters, buffers, training


def owned(program: Program, x: Batch, *, beside: nn.Module | None = None) -> nn.Module:
    """A program as a module that holds all it learns, found by running it on a few data.

    Arguments:
        program: A module, whose ``forward`` is the program; a function; or a method, of a module or another object.
        x: A few data, at least two.
        beside: The model, where the program is its guide. ``pyro.param`` statements of one name are one parameter of
            the pair, as in Pyro, and it is the model's.

    Raises:
        ValueError: If a parameter has a row per datum, or a network is made anew in every run, naming it.
    """
    known = getattr(beside, STORE, None) if beside is not None else None
    record = _recorded(program, x, known)
    statements = dict(record.statements)
    if statements and not isinstance(program, nn.Module):
        keep_apart(program, ((name, value) for name, (value, _) in statements.items()))
    for name in list(statements):
        if known is not None and name in known:
            known.begin_at(name, statements.pop(name))
    module = program if isinstance(program, nn.Module) else OwnedProgram(program, record, beside)
    if record.statements or module is not program:
        _check_lasting(record, _again(program, x, known))
        store = Parameters(statements)
        module.add_module(STORE, store)
        _answer(module, [store] if known is None else [store, known])
    return module


@explained
def _recorded(program: Program, x: Batch, known: Parameters | None) -> StatementRecorder:
    with (
        evaluating(program),
        fork_random_state(),
        probing_shapes(),
        poutine.trace() as tracer,  # noqa: F841  (an error is explained by its sites)
        StatementRecorder(known).recording() as record,
    ):
        call(program, (x,), {})
    return record


def _again(program: Program, x: Batch, known: Parameters | None) -> StatementRecorder | None:
    """A run on a single datum; None if the program does not take one."""
    try:
        return _recorded(program, x[:1], known)
    except (ValueError, RuntimeError, IndexError):
        return None


def _check_lasting(first: StatementRecorder, second: StatementRecorder | None) -> None:
    if second is None:
        return
    for name, (value, _) in first.statements.items():
        if name not in second.statements or second.statements[name][0].shape != value.shape:
            raise ValueError(
                f"pyro.param {name!r} has a row per datum (shape {tuple(value.shape)} for two data), which a datum "
                "never seen has not; compute it from x by a network"
            )
    for name, parameter in first.registered.items():
        if second.registered.get(name, parameter) is not parameter:
            raise ValueError(
                f"{name.partition('$$$')[0]!r} of pyro.module is made anew in every run, so that it never learns; make "
                "it once, outside the program"
            )


class _Answering:
    """Answers the ``pyro.param`` statements of a module's forward.

    Arguments:
        stores: Where the parameters are.
    """

    def __init__(self, stores: list[Parameters]) -> None:
        self.statements = Statements(stores)

    def begin(self, module: nn.Module, args: object) -> None:
        self.statements.__enter__()

    def end(self, module: nn.Module, args: object, result: object) -> None:
        self.statements.__exit__(None, None, None)


def _answer(module: nn.Module, stores: list[Parameters]) -> None:
    answering = _Answering(stores)
    module.register_forward_pre_hook(answering.begin)
    module.register_forward_hook(answering.end, always_call=True)
