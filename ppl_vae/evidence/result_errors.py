"""What a result says of the errors of its means: over these data, over all of their split, over the population."""

from __future__ import annotations

from typing import Any, Literal, get_args

from ppl_vae.evidence.bracket import Bracket
from ppl_vae.evidence.estimate import Estimate, finite
from ppl_vae.evidence.intervals import LEVEL, Ends, Interval, ends, of_population, of_these_data, split_se

__all__ = ["ResultErrors"]

Of = Literal["data", "split", "population"]
"""What a mean is over."""


class ResultErrors:
    """The part of a :class:`~ppl_vae.evidence.results.Result` that is about errors."""

    split_size: int | None = None

    def rows(self) -> dict[str, Estimate]:
        """The estimates by name, in the order of the table."""
        raise NotImplementedError

    def brackets(self) -> dict[str, Bracket]:
        """Brackets of the means of some rows, by the name of the row."""
        return {}

    @property
    def data(self) -> int:
        """Number of data."""
        return len(next(iter(self.rows().values())).pointwise)

    def ends(self, name: str) -> Ends:
        """Numbers below and above the true one of an estimate, in expectation; by default as its direction tells."""
        return ends(self.rows()[name])

    def population_ends(self, name: str) -> Ends:
        """The same of the population that the data were drawn from, where that is another number."""
        return self.ends(name)

    def interval(self, name: str, of: Of = "data", level: float = LEVEL) -> Interval:
        """Where the true mean of an estimate lies, an end being None where it is unknown.

        Arguments:
            name: Its name among the rows.
            of: The mean over these ``"data"``, about which only draws leave a doubt; over all data of the ``"split"``
                of which they are a sample; or over the ``"population"`` that they were drawn from.
            level: Confidence level.

        Raises:
            ValueError: If there is no such row, or the mean is over something else.
        """
        if name not in self.rows():
            raise ValueError(f"there is no row {name!r}; there are {', '.join(map(repr, self.rows()))}")
        if of not in (kinds := get_args(Of)):
            raise ValueError(f"the mean is over {', '.join(map(repr, kinds))}, got {of!r}")
        size = len(self.rows()[name].pointwise) if self.split_size is None else self.split_size
        if of == "data":
            return of_these_data(self.ends(name), level)
        return of_population(self.population_ends(name), level, of=size if of == "split" else None)

    def figure(self, estimate: Estimate) -> str:
        """A mean as in the table, with its errors."""
        if self.split_size is None or len(estimate.pointwise) == 1:
            return estimate.figure
        return f"{estimate.figure} ({split_se(estimate.pointwise, estimate.pointwise_se, self.split_size):.2g})"

    def errors_in_words(self) -> str:
        """What the errors of the table are of."""
        parts = ["+-: Monte Carlo standard error of the mean over these data"] if self.has_draws else []
        if self.split_size is not None:
            parts.append(
                f"in parentheses: standard error as the mean of all {self.split_size:,} data, of which these "
                f"{self.data:,} are a sample"
            )
        return "; ".join(parts)

    def signs_in_words(self) -> str:
        """What the signs before the means say, where the table has no column for it."""
        signs = {">= ": ">=: a lower bound", "<= ": "<=: an upper bound", "about ": "about: may be too high or too low"}
        found = {estimate.sign for estimate in self.rows().values()}
        return "; ".join(words for sign, words in signs.items() if sign in found)

    @property
    def has_draws(self) -> bool:
        """Whether some of the numbers have an error by their draws."""
        return any(estimate.se for estimate in self.rows().values())

    def errors_to_json(self, name: str) -> dict[str, Any]:
        """What JSON says of the errors of a mean besides its standard errors; a bracket is of these data itself."""
        bracket = self.brackets().get(name)
        errors: dict[str, Any] = {} if bracket is None else {"bracket": bracket.to_json()}
        if bracket is None:
            errors["data_95"] = self.interval(name).to_json()
        errors["population_95"] = self.interval(name, "population").to_json()
        if self.split_size is not None:
            estimate = self.rows()[name]
            errors["split_se"] = finite(split_se(estimate.pointwise, estimate.pointwise_se, self.split_size))
            errors["split_95"] = self.interval(name, "split").to_json()
        return errors
