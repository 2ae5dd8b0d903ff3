"""Programs that are timed beside ours do the same work: gradients and evidence have the same expectation."""

import json
from dataclasses import replace
from math import log

import pyro
import pytest
import torch
from click.testing import CliRunner
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.machine import machine
from benchmarks.peers import load
from benchmarks.workloads import __main__ as table
from benchmarks.workloads.works import WORKS
from tests.support.cli import forkserver
from tests.support.z_test import assert_mean

LEFT_OUT = ("compiled", "pythae")  # compiled is the function beside it; pythae's sigma is fixed


def programs(name):
    """Each program of a small piece of work, from the same start, and the data."""
    work = WORKS[name].small()
    x = work.setting.read(None)
    for program, where in work.peers.items():
        if not any(part in program for part in LEFT_OUT):
            load(where)(work.setting, x).step(x)
            pyro.clear_param_store()
            torch.manual_seed(1)
            yield program, load(where)(work.setting, x), x


def test_steps_of_the_gaussian_vae_have_the_same_gradient_from_the_same_random_numbers():
    found, decoder = {}, 0
    for name, program, x in programs("gaussian"):
        torch.manual_seed(2)
        count = 100 if name in ("torch", "pyro Trace_ELBO") else 1
        found[name] = torch.stack([program.gradient(x) for _ in range(count)]).double()
        decoder = sum(parameter.numel() for parameter in program.model.parameters())
    by_hand, sampled = found.pop("torch"), found.pop("pyro Trace_ELBO")
    assert set(found) == {"ours", "ours, replayed", "torch, fused Adam", "pyro TraceMeanField_ELBO"}
    for name, gradients in found.items():
        assert torch.allclose(gradients[0], by_hand[0], atol=1e-4), name
    # Where the rate is sampled, the guide's gradient is the same in expectation.
    assert torch.allclose(sampled[:, :decoder], by_hand[:, :decoder], atol=1e-4)
    difference = (sampled - by_hand)[:, decoder:]
    assert difference.abs().max() > 0.01
    assert_mean(difference, torch.zeros(difference.shape[1]).double())


def test_steps_of_the_mixture_have_the_exact_gradient():
    found = {}
    for name, program, x in programs("mixture-2"):
        found[name] = torch.stack([program.gradient(x) for _ in range(1 if "Trace" not in name else 300)]).double()
        last = program
    q = torch.stack([last.encoder(x).sigmoid(), 1 - last.encoder(x).sigmoid()])
    loss = 0
    for code, centre in zip(last.model.states, last.model.centres, strict=True):
        weight = (code * q[0] + (1 - code) * q[1]).prod(1)
        log_p = torch.distributions.Normal(centre, last.model.log_scale.exp()).log_prob(x).sum(1) - 2 * log(2)
        loss = loss + (weight * (weight.log() - log_p)).sum() / len(x)
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(loss, last.parameters)])
    for name, gradients in found.items():
        if "Trace" in name:
            assert_mean(gradients, exact.double())
        else:
            assert torch.allclose(gradients[0].float(), exact, atol=1e-5), name


def test_loops_over_the_ten_lines_have_the_gradient_of_a_sum_over_all_codes():
    for _, program, x in programs("readme"):
        codes = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 8)
        logits = program.encoder(program.x)
        q = torch.distributions.Bernoulli(logits=logits).log_prob(codes[:, None]).sum(-1)
        distortion = binary_cross_entropy_with_logits(
            program.decoder(codes)[:, None].expand(-1, 100, -1), program.x.expand(256, -1, -1), reduction="none"
        ).sum(-1)
        exact = torch.autograd.grad((q.exp() * (q + distortion)).sum(), program.parameters)
        found = torch.stack([program.gradient(x) for _ in range(60)]).double()
        assert_mean(found, torch.cat([g.flatten() for g in exact]).double())


@pytest.mark.parametrize("name", ["importance", "annealing"])
def test_evidence_by_hand_is_that_of_a_grid(name):
    setting = replace(WORKS[name].small().setting, data=2, draws=20)
    x = setting.read(None)
    torch.manual_seed(1)
    ours, by_hand = (load(where)(setting, x) for where in WORKS[name].peers.values())
    by_hand.model.load_state_dict(ours.model.state_dict())
    by_hand.guide.load_state_dict(ours.guide.state_dict())
    axis = torch.linspace(-6, 6, 121)
    z = torch.cartesian_prod(axis, axis)
    likelihood = torch.distributions.Normal(by_hand.reconstruction(z)[:, None], by_hand.log_scale.exp())
    prior = torch.distributions.Normal(0, 1).log_prob(z).sum(1)[:, None]
    exact = (likelihood.log_prob(x.flatten(1)).sum(-1) + prior).double().logsumexp(0) + 2 * log(0.1)
    found = torch.stack([by_hand.evidence(x) for _ in range(100)])
    assert_mean((found - exact).exp(), torch.ones(2).double())
    by_hand.step(x)
    assert by_hand.units == (40 if name == "importance" else 20 * 2 * (1 + 2 * 5))
    ours.step(x)
    assert ours.units >= 40


def test_one_command_prints_the_table(monkeypatch):
    context = forkserver()
    monkeypatch.setattr("multiprocessing.get_context", lambda _: context)
    names = ["text", "importance"]
    options = ["--small", "--threads", "1,2", "--blocks", "2", "--seconds", "0.01", "--programs", "sparse-arm,hand"]
    result = CliRunner().invoke(table.main, [*options, *(f"--work={name}" for name in names), "--json"])
    found = json.loads(result.stdout)
    assert found["machine"] == machine() and found["machine"]["cores"] >= 1
    assert {(row["work"], row["threads"]) for row in found["rows"]} == {(n, t) for n in names for t in (1, 2)}
    for row in found["rows"]:
        for kind in ("time_over_ours", "cpu_over_ours"):
            assert 0 < row[kind]["low"] <= row[kind]["median"] <= row[kind]["high"]
    shown = table.table_of("title", found["rows"])
    assert len(shown.rows) == len(found["rows"]) == 8


def test_numbers_of_threads_that_are_none_are_refused():
    result = CliRunner().invoke(table.main, ["--threads", "many"])
    assert result.exit_code == 2 and "numbers with commas" in result.output
