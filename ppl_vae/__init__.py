"""Variational autoencoders as Pyro pairs, and what their bounds hide."""

from pathlib import Path

from ppl_vae.version import __version__

__all__ = ["__version__"]

# In a checkout models/, guides/ and experiments/ lie beside this package; in a wheel, inside it. Either way they
# are ppl_vae.models and so on: the installed package takes no other top-level name.
_checkout = Path(__file__).parent.parent
if not (Path(__file__).parent / "models").is_dir() and (_checkout / "models" / "text.py").is_file():
    __path__.append(str(_checkout))
