"""The parameters of ``pyro.param`` statements, held by the pair whose programs have them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import constraints, transform_to

from ppl_vae.programs.parameters import LocalParameters

__all__ = ["Parameters", "Statement", "Statements", "StatementRecorder"]

Statement = tuple[Tensor, constraints.Constraint]
"""The initial value of a parameter, and its constraint."""


class Parameters(nn.Module):
    """Parameters of ``pyro.param`` statements by name: each is held without its constraint.

    Arguments:
        statements: Initial values and constraints by name.
    """

    def __init__(self, statements: dict[str, Statement]) -> None:
        super().__init__()
        self._constraints = {name: constraint for name, (_, constraint) in statements.items()}
        for name, (value, constraint) in statements.items():
            free = transform_to(constraint).inv(value.detach())
            self.register_parameter(_key(name), nn.Parameter(free.clone()))

    def __contains__(self, name: str) -> bool:
        return name in self._constraints

    def __getitem__(self, name: str) -> Tensor:
        """The value of a parameter, inside its constraint, as ``pyro.param`` returns it."""
        free = self._parameters[_key(name)]
        assert free is not None
        value: Tensor = transform_to(self._constraints[name])(free)
        value.unconstrained = weakref.ref(free)  # type: ignore[attr-defined]
        return value

    def begin_at(self, name: str, statement: Statement) -> None:
        """Gives a parameter the initial value of another statement of the same pair.

        Raises:
            ValueError: If the statement has another shape or constraint.
        """
        value, constraint = statement
        mine, theirs = (f"{tuple(v.shape)} {c}" for v, c in ((self[name], self._constraints[name]), statement))
        if mine != theirs:
            raise ValueError(
                f"pyro.param {name!r} of model and guide are one parameter, since they have one name, but the model's "
                f"is {mine}, the guide's {theirs}; rename one"
            )
        with torch.no_grad():
            free = self._parameters[_key(name)]
            assert free is not None
            free.copy_(transform_to(constraint).inv(value.detach()))


def _key(name: str) -> str:
    return name.replace(".", "/")


class Statements(LocalParameters):
    """Answers the ``pyro.param`` statements of a program from the parameters that its pair holds.

    Arguments:
        stores: Where the parameters are: in the program itself, or in the model of its guide.
    """

    def __init__(self, stores: Iterable[Parameters]) -> None:
        super().__init__()
        self.stores = tuple(stores)

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        name = msg["name"]
        for store in self.stores:
            if name in store:
                msg["value"] = store[name]
                # Pyro's SVI gathers parameters by name, which are those of one pair only.
                msg["name"] = f"{name}@{id(store)}"
                return
        if is_statement(msg):
            raise ValueError(
                f"pyro.param {name!r} was not met when the pair was built, so that it would not be trained; have every "
                "run of the program pass the statement"
            )
        initial = msg["args"][1] if len(msg["args"]) > 1 else None
        if isinstance(initial, nn.Parameter) and msg["value"] is None:
            self._keep(msg, initial)


def is_statement(msg: dict[str, Any]) -> bool:
    """Whether a message is a ``pyro.param`` statement with a value of its own, not the parameter of a module."""
    if len(msg["args"]) < 2 or msg["value"] is not None:
        return False
    return not isinstance(msg["args"][1], nn.Parameter) or _constraint(msg) is not constraints.real


def _constraint(msg: dict[str, Any]) -> constraints.Constraint:
    constraint: constraints.Constraint = msg["kwargs"].get("constraint", constraints.real)
    return constraint


class StatementRecorder(Messenger):
    """Records the ``pyro.param`` statements of a program, and the parameters of the networks that it registers.

    Arguments:
        known: Parameters that the pair holds already.

    Raises:
        ValueError: If an initial value lies outside its constraint, naming the parameter.
    """

    def __init__(self, known: Parameters | None = None) -> None:
        super().__init__()
        self.known = known
        self.statements: dict[str, Statement] = {}
        self.registered: dict[str, nn.Parameter] = {}
        self.called: list[nn.Module] = []

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        name, args = msg["name"], msg["args"]
        if msg["value"] is not None:
            return  # the program holds it already
        if is_statement(msg):
            if name not in self.statements:
                value = args[1]() if callable(args[1]) and not isinstance(args[1], Tensor) else args[1]
                value, constraint = torch.as_tensor(value).detach(), _constraint(msg)
                if not constraint.check(value).all():
                    raise ValueError(
                        f"the initial value of pyro.param {name!r} lies outside its constraint {constraint}"
                    )
                self.statements[name] = value, constraint
            msg["value"] = self.statements[name][0]
        elif len(args) > 1:
            self.registered.setdefault(name, args[1])
            msg["value"] = args[1]
        elif name in self.statements:
            msg["value"] = self.statements[name][0]
        elif self.known is not None and name in self.known:
            msg["value"] = self.known[name].detach()

    @contextmanager
    def recording(self) -> Iterator[StatementRecorder]:
        """Records the modules that are called, too."""
        hook = torch.nn.modules.module.register_module_forward_pre_hook(
            lambda module, args: None if module in self.called else self.called.append(module)
        )
        try:
            with self:
                yield self
        finally:
            hook.remove()
