import os

import pytest

from ppl_vae.plugins.discovery import available, find, load_file


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guides").mkdir()
    return tmp_path


def test_a_file_of_the_working_folder_wins_over_a_shipped_one_of_its_name(folder):
    assert find("guides", "mean_field").shipped
    own = folder / "guides" / "mean_field.py"
    own.write_text('"""Mine."""')
    for name in ("mean_field", "mean_field.py", "guides/mean_field.py", str(own)):
        assert not find("guides", name).shipped
    assert available("guides")["mean_field"].summary == "Mine."
    assert find("guides", "mean_field", own=False).shipped
    assert available("guides", own=False)["mean_field"].shipped


def test_in_a_checkout_the_files_of_the_working_folder_are_the_shipped_ones(monkeypatch):
    monkeypatch.chdir(find("guides", "mean_field", own=False).file.resolve().parents[1])
    assert all(plugin.shipped for plugin in available("guides").values())
    assert find("guides", "guides/mean_field.py").shipped


@pytest.mark.parametrize("kind", ["models", "guides", "experiments", "estimators", "readers"])
def test_every_shipped_file_has_a_summary_that_is_read_without_running_it(kind):
    plugins = available(kind, own=False)
    assert plugins and all(plugin.summary.endswith((".", ":", "?")) for plugin in plugins.values()), [
        name for name, plugin in plugins.items() if not plugin.summary.endswith((".", ":", "?"))
    ]


def test_a_users_file_runs_once_a_process_unless_it_changes(folder):
    own = folder / "guides" / "counted.py"
    own.write_text("import builtins\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1\nruns = builtins.runs\n")
    first = find("guides", "counted").load()
    assert find("guides", "guides/counted.py").load() is first and load_file(own) is first and first.runs == 1
    os.utime(own, ns=(1, 1))
    assert find("guides", "counted").load() is first
    own.write_text(own.read_text() + "# changed\n")
    assert find("guides", "counted").load().runs == 2


def test_missing_names_list_the_choices(folder):
    with pytest.raises(ValueError, match="there is no guide 'meanfield'; choose from .*mean_field.*or give the path"):
        find("guides", "meanfield")
    with pytest.raises(ValueError, match=r"there is no file guides/no\.py \(working folder .*\), nor a shipped guide"):
        find("guides", "guides/no.py")
    (folder / "vae.py").write_text("")
    with pytest.raises(ValueError, match=r"there is no file vea\.py .*; did you mean vae\.py\?$"):
        find("models", "vea.py")
