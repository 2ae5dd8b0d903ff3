"""One measurement made many times, as for tests of means and errors."""

from collections.abc import Callable
from typing import Any

from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.support import checked


def measured(
    count: int, model: Callable[..., Any], guide: Callable[..., Any], x: Any, **options: Any
) -> list[Evidence]:
    """So many measurements, of a model that is checked once."""
    with checked(model, x):
        return [measure(model, guide, x, check=False, **options) for _ in range(count)]
