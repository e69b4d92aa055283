from __future__ import annotations

import copy

import torch
from torch import nn

from flowerbench import checkpoint


def trained(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict:
    optimizer.zero_grad()
    network(torch.randn(4, 3, 8, 8)).sum().backward()
    optimizer.step()
    return {"model": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}


def test_a_snapshot_is_what_the_state_was_and_not_what_became_of_it(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    state = trained(network, optimizer)
    before = copy.deepcopy(state)
    taken = checkpoint.snapshot(state)
    trained(network, optimizer)
    checkpoint.save(tmp_path / "a.pt", taken)
    found = checkpoint.load(tmp_path / "a.pt")
    for name, weights in before["model"].items():
        assert torch.equal(found["model"][name], weights)
        assert found["model"][name].stride() == weights.stride(), "the layout, too, decides the last bits"
    momenta = [state["optimizer"]["state"][0]["momentum_buffer"] for state in (found, before)]
    assert torch.equal(*momenta)
    assert not torch.equal(found["model"]["0.weight"], network[0].weight)


def test_the_same_state_gives_the_same_bytes_as_torch_writes_them(tmp_path):
    state = {"model": nn.Linear(2, 3).state_dict(), "classes": ["ash", "".join(["a", "sh"])], "pair": (1, 2.5)}
    checkpoint.save(tmp_path / "a.pt", checkpoint.snapshot(state))
    checkpoint.save(tmp_path / "b.pt", checkpoint.snapshot(checkpoint.load(tmp_path / "a.pt")))
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    assert checkpoint.load(tmp_path / "a.pt")["classes"] == ["ash", "ash"]


def test_what_is_left_out_is_not_written(tmp_path):
    taken = checkpoint.snapshot({"model": {"w": torch.ones(2)}, "optimizer": {"m": torch.ones(10_000)}})
    checkpoint.save(tmp_path / "best.pt", taken.without("optimizer"))
    assert checkpoint.load(tmp_path / "best.pt").keys() == {"model"}
    assert (tmp_path / "best.pt").stat().st_size < 10_000
