import numpy as np
import pytest

from ppl_vae.training.settings import Settings, parse_schedule


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_the_learning_rate_falls_from_the_whole_to_almost_nothing(decay):
    settings = Settings(schedule=[(10, 1), (90, 3)], learning_rate=0.2, decay=decay)
    rates = [settings.rate(epoch) for epoch in range(1, 101)]
    assert rates[0] == 0.2
    assert rates == sorted(rates, reverse=True)
    assert rates[50] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.2 * {"linear": 0.01, "cosine": (1 - np.cos(np.pi / 100)) / 2}[decay])
    assert {Settings(schedule=[(100, 1)]).rate(epoch) for epoch in (1, 50, 100)} == {1e-3}
    with pytest.raises(ValueError, match="unknown decay 'slow'; choose from none, linear, cosine"):
        Settings(decay="slow")


def test_schedules():
    settings = Settings(schedule=parse_schedule("2x1,3x10"))
    assert [settings.draws(epoch) for epoch in range(1, 6)] == [1, 1, 10, 10, 10]
    assert settings.epochs == 5
    for wrong in ("", "0", "3x0", "3x", "x3", "-1", "1.5"):
        with pytest.raises(ValueError, match="epochs are a number|at least one draw"):
            parse_schedule(wrong)


@pytest.mark.parametrize(("data", "epochs"), [(1, 2_000), (243, 2_000), (600, 667), (8_449, 60), (100_000, 60)])
def test_few_data_have_as_many_steps_as_many_where_nothing_is_given(data, epochs):
    settled = Settings([(0, 3)], patience=None).settled(data)
    assert (settled.schedule, settled.patience) == ([(epochs, 3)], max(10, epochs // 6))
    assert settled.epochs * settled.steps(data) >= 2_000
    given = Settings([(5, 1)], patience=0)
    assert given.settled(data) == given
    assert Settings([(5, 1)], patience=None).settled(data) == Settings([(5, 1)], patience=10)
    assert Settings([(0, 3)], patience=None).settled_as(settled) == settled
    assert given.settled_as(settled) == given
