"""The state in which a pair is measured, whatever is measured of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.blocks import data_block, rows_at_once
from ppl_vae.programs.handlers import check_points, run
from ppl_vae.programs.invariance import check_repeats, placed_site
from ppl_vae.programs.masked import masks_verified
from ppl_vae.programs.placed import FEW, identity, placed, refuse_placed
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.support import checked
from ppl_vae.programs.types import Program
from ppl_vae.programs.unobserved import check_none

__all__ = ["prepared"]

_PREPARED: ContextVar[tuple[object, ...]] = ContextVar("prepared", default=())


@contextmanager
def prepared(model: Program, guide: Program, x: Batch, what: str | None = None) -> Iterator[None]:
    """Checks a pair for a measurement; inside, networks are in evaluation mode.

    Every measurement goes through here, so that all take or refuse the same programs: data outside the support of
    their site, latents that all data share, densities that change from call to call or with the other data of the
    batch, and factors are refused; scales are taken off (:func:`~ppl_vae.programs.handlers.run`). A measurement that
    is part of another, of the same data or some of them, does not check them again.

    Arguments:
        model: The model.
        guide: Its guide.
        x: All data.
        what: What is measured, in words, if it takes no latents that count for some data only; None if it does.

    Raises:
        ValueError: If the pair cannot be measured, naming the site and the remedy.
    """
    pair = tuple(map(identity, (model, guide)))
    if pair in _PREPARED.get():
        with evaluating(model, guide):
            yield
        return
    with masks_verified(model, x), checked(model, x), evaluating(model, guide):
        if len(x):
            check_points(model, guide, x)
            check_repeats(guide, x)
            if what is not None:
                with fork_random_state():
                    check_none(run(model, (x[:2],), {}, draws=1), what)
        site, block = placed_site(guide, x) if len(x) > 1 else None, min(data_block(x), rows_at_once(x) // 8)
        if data_block(x) < len(x) or (block <= FEW and block < len(x)):
            refuse_placed(site, len(x))
        token = _PREPARED.set((*_PREPARED.get(), pair))
        try:
            with placed(guide, site, len(x)):
                yield
        finally:
            _PREPARED.reset(token)
