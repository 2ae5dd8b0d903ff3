"""One process at a time trains in a run; another one is told which."""

import os
import threading
import time

import pytest

from ppl_vae.training.lock import LOCK, locked, place_of


def test_the_second_one_is_told_who_holds_the_lock(tmp_path):
    with locked(tmp_path / "r", "trains there"):
        words = rf"r is in use: process {os.getpid()} on .* trains there since 20..-..-.. ..:..:..; wait for its end"
        with pytest.raises(ValueError, match=words), locked(tmp_path / "r", "trains there"):
            pass
        with locked(tmp_path / "r", "writes there", name=".other"):
            pass
    assert not list((tmp_path / "r").iterdir())
    with locked(tmp_path / "r", "trains there"):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    child = os.fork()
    if child == 0:
        with locked(tmp_path, "trains there"):
            (tmp_path / "begun").touch()
            time.sleep(60)
        os._exit(1)
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    with pytest.raises(ValueError, match=f"process {child} on"), locked(tmp_path, "trains there"):
        pass
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path, "trains there"):
        pass
    assert not (tmp_path / LOCK).exists()


def test_one_that_waits_goes_on_when_the_first_has_ended(tmp_path, capsys):
    order = []

    def second():
        with locked(tmp_path, "fits there", wait=True):
            order.append("second")

    with locked(tmp_path, "fits there"):
        thread = threading.Thread(target=second)
        thread.start()
        while "waiting for" not in capsys.readouterr().err:
            time.sleep(0.01)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert not list(tmp_path.iterdir())


def test_a_moved_folder_is_found_by_its_lock(tmp_path):
    with locked(tmp_path / "r", "trains there"):
        assert place_of(tmp_path / "r") == tmp_path / "r"
        (tmp_path / "r").rename(tmp_path / "moved")
        assert place_of(tmp_path / "r") == tmp_path / "moved"
    assert place_of(tmp_path / "r") is None
