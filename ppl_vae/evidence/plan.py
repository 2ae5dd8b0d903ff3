"""The choice of an evidence method for a model and its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.nn.modes import evaluating
from ppl_vae.plugins.discovery import Plugin, available, find
from ppl_vae.plugins.options import Option, checked, options_of
from ppl_vae.programs.sites import GuideSite, model_sites
from ppl_vae.programs.types import Program

__all__ = ["OptionValue", "Plan", "method_options", "obstacle_of", "own_methods", "plan"]

OptionValue = int | float | bool | str
"""The value of a method's option."""


@dataclass(frozen=True)
class Plan:
    """The method that measures the evidence, and why it was chosen.

    Arguments:
        method: The method, with its options.
        why: The reason, in a sentence.
        sites: The latent sites of the model.
        block: Number of data measured, and stored, together.
        cells: What the progress adds up to.
        fallbacks: Methods for blocks of data in which the chosen one turns out to be impossible.
    """

    method: EvidenceMethod
    why: str
    sites: list[GuideSite]
    block: int
    cells: int
    fallbacks: tuple[EvidenceMethod, ...] = ()


def plan(model: Program, x: Batch, *, draws: int | None = None, method: str = "auto", **options: OptionValue) -> Plan:
    """Chooses the method for a model and its data.

    Arguments and errors are those of :func:`~ppl_vae.evidence.measure.measure`.
    """
    if len(x) == 0:
        raise ValueError("there are no data to measure")
    if draws is not None and draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    given = options if draws is None else {"draws": draws, **options}
    with evaluating(model):
        sites = model_sites(model, x)
        if method == "auto":
            methods = _all_methods(given)
            chosen, why, fallbacks = _first_applicable(methods, model, x, sites)
            _check_used(options, methods, chosen)
        else:
            chosen, fallbacks = _configured(find("evidence", method, besides=["auto"]), given), ()
            why = chosen.reason(sites) if chosen.exact else f"{chosen.name}, as requested"
            if reason := obstacle_of(chosen, model, x, sites):
                others = [other for other in _all_methods({}) if other.name != chosen.name]
                raise ValueError(
                    f"{chosen.title} is not possible: {reason}; use the method {_alternatives(others, model, x, sites)}"
                )
    if chosen.draws < chosen.fewest_draws:
        raise ValueError(
            f"{chosen.name} needs at least {chosen.fewest_draws} draws per datum, got {chosen.draws}; raise the draws "
            "(--draws, draws=; of a gap --evidence-draws, evidence_draws=)"
        )
    return Plan(chosen, why, sites, chosen.block(x), chosen.cost(x, sites), fallbacks)


def method_options(method: str = "auto") -> dict[str, list[Option]]:
    """The options of the methods of this package and of a user's own, each once, by title of their group.

    Arguments:
        method: The method to be used, by name or file; ``"auto"`` may use all of the working folder.
    """
    plugins = _plugins()
    if method != "auto":
        plugins = [*(plugin for plugin in plugins if plugin.shipped), find("evidence", method, besides=["auto"])]
    seen, groups = {"draws"}, {}
    for plugin in plugins:
        if options := [option for option in _options(_class_of(plugin)) if option.name not in seen]:
            groups[f"Method {plugin.name}"] = options
            seen |= {option.name for option in options}
    return groups


def obstacle_of(method: EvidenceMethod, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
    """Why a method is impossible; None if it is possible."""
    try:
        return method.obstacle(model, x, sites)
    except ValueError as error:  # latents of a kind that the method cannot represent
        return str(error)


def _first_applicable(
    methods: list[EvidenceMethod], model: Program, x: Batch, sites: list[GuideSite]
) -> tuple[EvidenceMethod, str, tuple[EvidenceMethod, ...]]:
    """The first method without an obstacle that is not too costly, why it is taken, and those that come after it."""
    obstacles: list[str] = []
    for position, method in enumerate(methods):
        obstacle = obstacle_of(method, model, x, sites) or method.too_costly(model, x, sites)
        if obstacle is None:
            why = method.reason(sites) if method.exact else f"no exact method applies: {'; '.join(obstacles)}"
            return method, why, tuple(methods[position + 1 :])
        if method.exact and method.concerns(sites):
            obstacles.append(f"{method.title}: {obstacle}")
    raise ValueError(f"no evidence method applies: {'; '.join(obstacles)}")


def _alternatives(methods: list[EvidenceMethod], model: Program, x: Batch, sites: list[GuideSite]) -> str:
    """Names of the methods that are possible: the first exact one, else all that are not exact."""
    for exact in (True, False):
        names = [m.name for m in methods if m.exact == exact and obstacle_of(m, model, x, sites) is None]
        if names:
            return " or ".join(f"'{name}'" for name in (names[:1] if exact else names))
    return "'auto'"


def _all_methods(options: Mapping[str, OptionValue]) -> list[EvidenceMethod]:
    """All methods in the order of the automatic choice, each with those of the options that it has.

    Raises:
        ValueError: If no method has one of the options.
    """
    plugins = _plugins()
    known = {plugin: {option.name for option in _options(_class_of(plugin))} for plugin in plugins}
    if unknown := [name for name in options if not any(name in names for names in known.values())]:
        every = sorted(set().union(*known.values()))
        raise ValueError(f"no evidence method has an option {', '.join(unknown)}; there are {', '.join(every)}")
    methods = [
        _configured(plugin, {name: value for name, value in options.items() if name in known[plugin]})
        for plugin in plugins
    ]
    return sorted(methods, key=lambda method: (not method.exact, method.priority))


def _check_used(options: Mapping[str, OptionValue], methods: list[EvidenceMethod], chosen: EvidenceMethod) -> None:
    """Refuses options that neither the chosen method has nor one tried before, whose obstacles may depend on them."""
    names = [{option.name for option in _options(type(method))} for method in methods]
    used = set().union(*names[: methods.index(chosen) + 1])
    for option in options:
        if option not in used:
            owners = " or ".join(m.name for m, has in zip(methods, names, strict=True) if option in has)
            raise ValueError(
                f"the method auto took {chosen.name}, which has no option {option} (--{option.replace('_', '-')}, "
                f"{option}=): leave it out, or take the method {owners} (--method, method=; of a gap --evidence, "
                "evidence=)"
            )


def own_methods() -> list[Plugin]:
    """The methods of the working folder that load."""
    return [plugin for plugin in _plugins() if not plugin.shipped]


def _plugins() -> list[Plugin]:
    """The methods of this package, and those of the working folder that load."""
    return [plugin for plugin in available("evidence").values() if plugin.shipped or _loads(plugin)]


def _loads(plugin: Plugin) -> bool:
    """Whether a file of the working folder is an evidence method that loads.

    A folder called "evidence" may hold other Python files, of which none is run. One that fails costs no measurement by
    another method; asked for by name, it says why it fails.
    """
    if EvidenceMethod.__name__ not in plugin.file.read_text(errors="ignore"):
        return False
    try:
        _class_of(plugin)
    except ValueError:
        return False
    return True


def _configured(plugin: Plugin, options: Mapping[str, OptionValue]) -> EvidenceMethod:
    kind = _class_of(plugin)
    return kind(**checked(_options(kind), options, f"the evidence method {plugin.name}"))


@cache
def _options(kind: type[EvidenceMethod]) -> list[Option]:
    return options_of(kind)


def _class_of(plugin: Plugin) -> type[EvidenceMethod]:
    return plugin.load_class(EvidenceMethod)  # type: ignore[type-abstract]
