from __future__ import annotations

import hashlib
import http.server
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from flowerbench import model
from flowerbench._torchvision import torchvision
from flowerbench.config import Model
from flowerbench.errors import UsageError


def build(
    name: str = "tiny", weights: str | None = None, classes: int = 5, image_size: int = 64, **kwargs
) -> nn.Module:
    return model.build(Model(name=name, weights=weights, kwargs=kwargs), classes, image_size)


def small(classes: int = 5, weights: str | Path | None = None) -> nn.Module:
    return build("mobilenet_v2", weights and str(weights), classes, width_mult=0.25)


# A RegNet cannot be built on the meta device, and its larger ones take gigabytes off it.
ALL = [name for name in torchvision.models.list_models(module=torchvision.models) if "regnet" not in name]


@pytest.mark.parametrize("name", [*ALL, "regnet_x_400mf", "regnet_y_400mf", "tiny"])
def test_every_classifier_gets_a_head_for_the_classes_at_hand(name):
    # On torch's meta device a model has shapes, but no numbers: the largest one is built in a moment.
    with torch.device("cpu" if "regnet" in name else "meta"):
        network = build(name, classes=7, image_size=224)
        assert network.eval()(torch.empty(2, 3, 224, 224)).shape == (2, 7)
        assert network.train()(torch.empty(2, 3, 224, 224)).shape == (2, 7), "in training too: no auxiliary outputs"


def test_a_model_that_needs_numbers_to_be_built_takes_weights_too(tmp_path):
    state = build("regnet_x_400mf", classes=3).state_dict()
    torch.save(state, tmp_path / "w.pth")
    loaded = build("regnet_x_400mf", str(tmp_path / "w.pth")).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state if not name.startswith("fc."))


def test_a_model_for_one_size_of_image_is_built_for_that_size():
    with torch.device("meta"):
        assert build("vit_b_16", image_size=96)(torch.empty(1, 3, 96, 96)).shape == (1, 5)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(
        UsageError, match=r"model\.name=resnet81 is no classifier of torchvision: did you mean .*resnet18"
    ):
        build("resnet81")


def test_an_argument_that_the_model_has_not_is_refused():
    with pytest.raises(UsageError, match=r"model\.name=resnet18 cannot be built with .*width_mult"):
        build("resnet18", width_mult=0.5)


@pytest.mark.parametrize("wrapped", [False, True])
def test_weights_of_a_file_with_another_head_are_taken_but_the_head(tmp_path, wrapped):
    torch.manual_seed(1)
    state = small(classes=1000).state_dict()
    torch.save({"model": state, "epoch": 3} if wrapped else state, tmp_path / "w.pth")
    torch.manual_seed(2)
    loaded = small(weights=tmp_path / "w.pth").state_dict()
    head = {"classifier.1.weight", "classifier.1.bias"}
    assert all(torch.equal(loaded[name], state[name]) for name in state if name not in head)
    torch.manual_seed(2)
    fresh = small().state_dict()
    assert all(torch.equal(loaded[name], fresh[name]) for name in head), "the head starts from random numbers"


def test_weights_without_a_head_are_taken(tmp_path):
    state = {name: value for name, value in small().state_dict().items() if not name.startswith("classifier")}
    torch.save(state, tmp_path / "w.pth")
    loaded = small(weights=tmp_path / "w.pth").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_a_head_is_never_taken_even_if_its_size_fits(tmp_path):
    state = small().state_dict()
    torch.save(state, tmp_path / "w.pth")
    loaded = small(weights=tmp_path / "w.pth").state_dict()
    assert torch.equal(loaded["features.0.0.weight"], state["features.0.0.weight"])
    assert not torch.equal(loaded["classifier.1.weight"], state["classifier.1.weight"])


def test_weights_that_do_not_fit_are_refused_with_their_keys(tmp_path):
    state = small().state_dict()
    del state["features.1.conv.0.0.weight"]
    state["features.0.0.weight"] = torch.zeros(3, 3)
    state["extra.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UsageError) as raised:
        small(weights=tmp_path / "w.pth")
    assert str(raised.value).endswith(
        "missing: features.1.conv.0.0.weight; unknown: extra.weight; of another size: features.0.0.weight"
    )


class Evil:
    def __reduce__(self):
        return (Path("owned").touch, ())


@pytest.mark.parametrize("content", ["text", "pickle", "list", "nothing"])
def test_a_file_that_is_no_state_dict_is_refused_and_never_run(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "w.pth"
    if content == "text":
        file.write_text("not a checkpoint")
    elif content == "pickle":
        torch.save({"a": Evil()}, file)
    elif content == "list":
        torch.save([1, 2], file)
    with pytest.raises(UsageError, match=r"w\.pth") as raised:
        small(weights=file)
    assert "\n" not in str(raised.value)
    assert not Path("owned").exists()


class Served(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """ImageNet weights of a small ShuffleNet, at an address on this machine instead of torchvision's own."""
    torch.manual_seed(3)
    state = torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict()
    torch.save(state, tmp_path / "raw.pth")
    digest = hashlib.sha256((tmp_path / "raw.pth").read_bytes()).hexdigest()[:8]
    (tmp_path / "raw.pth").rename(tmp_path / f"shufflenet-{digest}.pth")
    handler = lambda *args: Served(*args, directory=str(tmp_path))  # noqa: E731
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    entry = torchvision.models.get_model_weights("shufflenet_v2_x0_5").DEFAULT
    address = f"http://127.0.0.1:{server.server_port}/shufflenet-{digest}.pth"
    original = entry.url
    object.__setattr__(entry.value, "url", address)  # a frozen dataclass
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    yield tmp_path / f"shufflenet-{digest}.pth", state
    object.__setattr__(entry.value, "url", original)
    server.shutdown()
    server.server_close()


def test_imagenet_weights_are_fetched_checked_and_kept_in_torchs_cache(served, tmp_path):
    file, state = served
    loaded = build("shufflenet_v2_x0_5", "imagenet").state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state if not name.startswith("fc."))
    assert (tmp_path / "hub" / "hub" / "checkpoints" / file.name).is_file()


def test_imagenet_weights_with_a_wrong_sum_are_refused(served):
    file, _ = served
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(UsageError, match=r"model\.weights=imagenet: cannot fetch .*invalid hash value"):
        build("shufflenet_v2_x0_5", "imagenet")


def test_imagenet_weights_out_of_reach_name_the_ways_out(served, monkeypatch):
    file, _ = served
    file.unlink()
    with pytest.raises(UsageError, match=r"put that file into .*checkpoints, or use model\.weights=FILE"):
        build("shufflenet_v2_x0_5", "imagenet")


def test_a_model_without_imagenet_weights_says_so():
    with pytest.raises(UsageError, match="torchvision has none for tiny"):
        build("tiny", "imagenet")


def test_the_hash_of_weights_is_that_of_the_file(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"abc")
    config = Model(name="tiny", weights=str(tmp_path / "w.pth"), kwargs={})
    assert model.weights_hash(config) == hashlib.sha256(b"abc").hexdigest()
    assert model.weights_hash(Model(name="tiny", weights=None, kwargs={})) == "none"
    with pytest.raises(UsageError, match="is not a file"):
        model.weights_hash(Model(name="tiny", weights=str(tmp_path / "x.pth"), kwargs={}))


def test_the_shared_backbone_loads_and_is_trained_whole(real_weights):
    network = build("mobilenet_v2", str(real_weights), width_mult=0.35)
    state = torch.load(real_weights, weights_only=True)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())
    assert model.trainable_parameters(network) == sum(p.numel() for p in network.parameters())
