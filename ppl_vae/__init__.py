"""Variational autoencoders as Pyro models with guides, and what their bounds hide."""

import importlib.util
import sys
from pathlib import Path

__all__ = ["__version__"]

__version__ = "0.1.0"


def _register_checkout_packages() -> None:
    """Makes ``ppl_vae.models``, ``guides`` and ``experiments`` of a checkout importable.

    A wheel holds them inside this package. In a checkout they lie beside it; ``__path__`` must not name the checkout
    itself, which holds this package again.
    """
    root = Path(__file__).parent.parent
    for name in ("models", "guides", "experiments"):
        init = root / name / "__init__.py"
        if (Path(__file__).parent / name).is_dir() or not init.is_file() or f"{__name__}.{name}" in sys.modules:
            continue
        spec = importlib.util.spec_from_file_location(
            f"{__name__}.{name}", init, submodule_search_locations=[str(init.parent)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        globals()[name] = module


_register_checkout_packages()
