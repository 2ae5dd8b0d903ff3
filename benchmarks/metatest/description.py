"""Small programs as data: their sites with all numbers, drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

__all__ = ["LATENTS", "OBSERVED", "PLATES", "Description", "Site", "descriptions", "for_each"]

PLATES = ("data", "documents", "rows")
"""Names of the plate over data."""

LATENTS = (
    "bernoulli",
    "categorical",
    "one_hot",
    "normal",
    "mvn",
    "mixture",
    "gamma",
    "exponential",
    "log_normal",
    "beta",
    "poisson",
    "geometric",
)
"""Families of latents."""

OBSERVED = (
    "normal",
    "bernoulli",
    "categorical",
    "poisson",
    "binomial",
    "multinomial",
    "negative_binomial",
    "gamma",
    "exponential",
    "beta",
    "log_normal",
    "student",
)
"""Families of observations."""

GAUSSIAN = ("normal", "mvn", "normal", "bernoulli", "categorical")
"""Families of latents whose linear models have closed forms, some of them state by state."""

SIZED = ("bernoulli", "normal", "poisson", "binomial")
"""Families of which there may be two independent elements, in an event or in an inner plate."""

AXES = {"normal": 1, "mvn": 2, "mixture": 1, "gamma": 1, "exponential": 1, "log_normal": 1, "beta": 1}
"""Continuous numbers of an element of each family."""


@dataclass(frozen=True)
class Site:
    """One sample statement, its parameters a linear function of earlier latents.

    Arguments:
        name: Its name.
        family: Its family.
        size: Number of independent elements; 0 for a single one without a dimension.
        inner: Whether the elements lie in a plate inside the plate over data; else they are an event.
        states: Number of states, of categorical families.
        intercept: Constant of the linear predictor.
        weights: Coefficients of the features of earlier latents.
        of_data: Coefficient of the first column of the data; of guides only.
        offsets: What each element, or state, adds.
        shape: The parameters that do not depend on latents: a scale, or two concentrations.
        mask: Whether elements, or whole rows, are masked by a column of the data.
        scale: The factor of ``poutine.scale`` around the statement.
        columns: The columns of the data that are observed, then those of the mask.
    """

    name: str
    family: str
    size: int = 0
    inner: bool = False
    states: int = 2
    intercept: float = 0.0
    weights: dict[str, float] = field(default_factory=dict)
    of_data: float = 0.0
    offsets: tuple[float, ...] = (0.0,)
    shape: tuple[float, float] = (1.0, 1.0)
    mask: str = ""
    scale: float = 1.0
    columns: tuple[int, ...] = ()


@dataclass(frozen=True)
class Description:
    """A pair.

    Arguments:
        plate: Name of the plate over data.
        subsampled: Whether that plate has the size of a larger data set.
        extras: Statements that measurements leave out, by name: a regulariser, a deterministic value.
        latents: The latents of the model, in order.
        observed: Its observations.
        guide: The same latents as the guide draws them.
        single: Whether it is in single precision.
        data: Number of data.
        seed: Seed of the data.
    """

    plate: str
    subsampled: bool
    extras: tuple[str, ...]
    latents: tuple[Site, ...]
    observed: tuple[Site, ...]
    guide: tuple[Site, ...]
    single: bool
    data: int
    seed: int

    @property
    def structure(self) -> str:
        """What kinds of latents there are, for a table."""
        kinds = {_kind(site.family) for site in self.latents}
        count = "1 latent" if len(self.latents) == 1 else f"{len(self.latents)} latents"
        return f"{count}: {' and '.join(sorted(kinds))}"


def _kind(family: str) -> str:
    if family in ("bernoulli", "categorical", "one_hot"):
        return "discrete"
    return "counts" if family in ("poisson", "geometric") else "continuous"


MOST_CELLS = 400_000
"""Most points of the grid on which all latents lie."""


def _cells(site: Site) -> int:
    """Points of the grid that the values of a site lie on."""
    one = {"bernoulli": 2, "categorical": site.states, "one_hot": site.states, "poisson": 60, "geometric": 60}
    many = AXES.get(site.family, 1) * max(site.size, 1)
    return int(one.get(site.family, 121 if site.family in ("normal", "mvn", "log_normal") else 242) ** many)


def _real(low: float, high: float) -> st.SearchStrategy[float]:
    return st.integers(0, 40).map(lambda step: round(low + (high - low) * step / 40, 6))


@st.composite
def _site(draw: st.DrawFn, name: str, family: str, earlier: tuple[Site, ...], guide: bool, like: Site | None) -> Site:
    sized = family in SIZED and family != "mvn"
    size = like.size if like else (draw(st.sampled_from([0, 0, 2])) if sized else 0)
    states = like.states if like else draw(st.integers(2, 4))
    inner = like.inner if like else bool(size) and draw(st.booleans())
    count = {"categorical": states, "one_hot": states, "multinomial": 3, "mvn": 2, "mixture": 2}.get(
        family, max(size, 1)
    )
    spread = 1.5 if guide else 1.0
    weights = {site.name: draw(_real(-1.5, 1.5)) for site in earlier if draw(st.booleans()) or not guide}
    return Site(
        name,
        family,
        size,
        inner,
        states,
        draw(_real(-spread, spread)),
        weights,
        draw(_real(-1, 1)) if guide else 0.0,
        tuple(draw(_real(-1, 1)) for _ in range(count)),
        (draw(_real(0.5, 1.5)), draw(_real(0.5, 1.5))),
    )


@st.composite
def descriptions(
    draw: st.DrawFn, inner_plates: bool = True, axes: int = 2, most_cells: int = MOST_CELLS
) -> Description:
    """Pairs of one to three latents with at most so many continuous numbers, and one or two observations.

    Arguments:
        draw: Of hypothesis.
        inner_plates: Whether there are plates inside the plate over data.
        axes: Most continuous numbers.
        most_cells: Most points of the interpreter's grid.
    """
    latents: list[Site] = []
    left, cells = axes, 1
    gaussian = draw(st.sampled_from([False] * 5 + [True]))
    families = GAUSSIAN if gaussian else LATENTS
    for position in range(draw(st.integers(1, 3))):
        family = draw(st.sampled_from([f for f in families if AXES.get(f, 0) <= left]))
        site = draw(_site(f"z{position}", family, tuple(latents), False, None))
        if AXES.get(family, 0) * max(site.size, 1) > left or cells * _cells(site) > most_cells:
            site = replace(site, size=0, inner=False, offsets=site.offsets[: 1 if site.size else None])
        if cells * _cells(site) > most_cells:
            continue
        left -= AXES.get(family, 0) * max(site.size, 1)
        cells *= _cells(site)
        latents.append(site)
    observed, column = list[Site](), 0
    for position in range(draw(st.integers(1, 2))):
        family = draw(st.sampled_from(("normal",) if gaussian else OBSERVED))
        site = draw(_site(f"x{position}", family, tuple(latents), False, None))
        width = 3 if family == "multinomial" else max(site.size, 1)
        kinds = ["", "", "", "rows"] + (["elements"] if family == "normal" and site.size else [])
        mask = draw(st.sampled_from(kinds))
        masks = {"": 0, "rows": 1, "elements": width}[mask]
        scale = draw(st.sampled_from([1.0, 1.0, 1.0, 0.25]))
        columns = tuple(range(column, column + width + masks))
        observed.append(replace(site, mask=mask, scale=scale, columns=columns))
        column += width + masks
    guide = list[Site]()
    for site in latents:
        guide.append(draw(_site(site.name, site.family, tuple(guide), True, site)))
    if not inner_plates:
        latents, observed, guide = (
            [replace(site, inner=False) for site in sites] for sites in (latents, observed, guide)
        )
    return Description(
        draw(st.sampled_from(PLATES)) if inner_plates else "data",
        draw(st.sampled_from([False, False, True])),
        tuple(sorted(draw(st.sets(st.sampled_from(["regulariser", "deterministic"]), max_size=2)))),
        tuple(latents),
        tuple(observed),
        tuple(guide),
        draw(st.sampled_from([False, False, True])),
        draw(st.integers(2, 3)),
        draw(st.integers(0, 10_000)),
    )


def for_each(drawn: st.SearchStrategy[Description], count: int, use: Callable[[Description], object]) -> None:
    """Draws descriptions, the same in every run, and uses each."""

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn)
    def use_all(description: Description) -> None:
        use(description)

    use_all()
