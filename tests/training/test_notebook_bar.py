"""Progress in a notebook."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from ppl_vae.training.notebook_bar import in_notebook
from ppl_vae.training.progress import Reporter


@pytest.fixture
def outputs(monkeypatch):
    """All that a kernel of IPython shows, in the order of time."""
    shown = []
    display = ModuleType("IPython.display")
    display.HTML = str
    display.display = lambda html, display_id: shown.append(html) or SimpleNamespace(update=shown.append)
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_a_notebook_shows_a_bar_that_is_gone_at_the_end(outputs, capsys):
    assert in_notebook()
    with Reporter("work <1>", 4) as reporter:
        reporter.advance(1, "ELBO -3")
        reporter.advance(1)  # too soon to be shown
        reporter.notebook.shown -= 1
        reporter.advance(1)
    first, one, three, last = outputs
    assert (first, last) == ("", "")
    assert one.startswith('work &lt;1&gt; <progress max="4" value="1"></progress> 25%, ELBO -3, about ')
    assert 'value="3"' in three
    assert capsys.readouterr() == ("", "")


def test_a_shell_is_no_notebook(outputs, monkeypatch):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace())
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()
