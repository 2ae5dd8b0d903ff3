"""Every command in the README and the pages has a name and options that exist; their values are not looked at."""

import re
import shlex

import pytest

from tests.docs.test_docs import PAGES, ROOT
from tests.support.cli import invoke

OF_READERS = ("mine/mine.py", "my_model.py", "vae.py", "die.py", "my_sweep.toml", "MODEL", "IMAGES")
"""Files and names of the reader's own, whose options nobody knows here."""

PLACES = {"B": "8", "H": "1", "G": "linear_counts", "RATE": "1e-3", "NAME": "annealing"}
"""What stands for a value of the reader's, and a value."""


def commands_of(page: str) -> list[list[str]]:
    """The arguments of the commands in blocks and in lines."""
    text = (ROOT / page).read_text()
    blocks = re.findall(r"^```(?:bash|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [
        match[1]
        for line in lines
        if (match := re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:.* -m ppl_vae|(?:\S+/)?ppl-vae) (.*)", line))
    ]
    found += re.findall(r"`ppl-vae ([^`]+)`", text)
    words = [shlex.split(command, comments=True) for command in dict.fromkeys(found)]
    return [[PLACES.get(word, word) for word in each if word not in ("...", "&", "--help")] for each in words]


@pytest.mark.parametrize("page", [page for page in PAGES if commands_of(page)])
def test_commands_of_the_page_have_names_and_options_that_exist(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in commands_of(page):
        if not set(words) & set(OF_READERS):
            done = invoke(*words, "--help")
            assert done.exit_code == 0 and "Usage: " in done.output, (words, done.output)


def test_an_option_that_does_not_exist_is_found():
    assert "No such option" in invoke("gap", "RUN", "--splot", "test", "--help").output
    assert "splot" in invoke("train", "gmm", "--guide", "full", "--splot", "1", "--help").output
