from __future__ import annotations

import sys

import pytest
from hydra import errors as hydra_errors
from hypothesis import given
from hypothesis import strategies as st

from flowerbench import checks, config, isolation, open_groups
from flowerbench.errors import RunError, UsageError, is_usage, one_line


@pytest.mark.parametrize("experiment", ["paper", "quickstart"])
@pytest.mark.parametrize("data", ["flowers", "flower_photos", "folder", "synthetic"])
def test_what_is_shipped_is_allowed(compose_config, experiment, data):
    checks.check(compose_config(f"experiment={experiment}", f"data={data}"))


@pytest.mark.parametrize("group", ["model", "optim", "schedule", "tracking"])
def test_every_option_is_allowed(compose_config, group):
    for file in (config.folder() / group).glob("*.yaml"):
        if file.stem != "base":
            checks.check(compose_config(f"{group}={file.stem}"))


@pytest.mark.parametrize(
    ("override", "allowed"),
    [
        ("batch_size=0", "a whole number, 1 or more"),
        ("epochs=-1", "a whole number, 1 or more"),
        ("seed=-1", "a whole number from 0 to 4294967295"),
        ("image_size=4", "pixels, 8 to 4096"),
        ("device=tpu", "auto, cpu, mps, cuda or cuda:N"),
        ("precision=fp64", "one of fp32, bf16"),
        ("data.val_fraction=1.5", "a number between 0 and 1, both excluded"),
        ("data.val_fraction=nan", "a number between 0 and 1, both excluded"),
        ("data.validation=both", "one of clean, augmented"),
        ("data.augmentation.scale=[0.5,0.1]", "two shares of the area, 0 < smallest <= largest <= 1"),
        ("data.augmentation.horizontal_flip=2", "a number from 0 to 1"),
        ("data.mean=[0.1,0.2]", "three numbers"),
        ("data.std=[0.1,0.2,0]", "three numbers above 0"),
        ("data.workers=-2", "a whole number, 0 or more"),
        ("optim.lr=nan", "a number above 0"),
        ("optim.lr=0", "a number above 0"),
        ("optim.lr=fast", "a number above 0"),
        ("optim.lr=true", "a number above 0"),
        ("optim.lr=null", "a number above 0"),
        ("optim.momentum=1", "a number from 0, below 1"),
        ("+optim.dampening=inf", "finite numbers only"),
        ("schedule.step_size=0", "a whole number, 1 or more"),
        ("tracking.experiment=''", "a name"),
    ],
)
def test_out_of_range_names_key_value_and_what_is_allowed(compose_config, override, allowed):
    key, _, value = override.removeprefix("+").partition("=")
    with pytest.raises(UsageError) as raised:
        checks.check(compose_config(override))
    message = str(raised.value)
    assert message.startswith(f"{key}=")
    assert message.endswith(f" is not allowed: {allowed}")
    if value not in ("true", "null", "''"):
        assert value.replace(",", ", ").split(", ")[0] in message
    assert "\n" not in message


def test_whole_numbers_are_whole_and_devices_are_devices(compose_config):
    for override in ("schedule.step_size=2.5", "+optim.betas=[nan,2]", "device=cuda:abc", "device=auto:7"):
        with pytest.raises(UsageError, match=r"is not allowed"):
            checks.check(compose_config(override))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.name=resnet81", "model.name=resnet81 is no classifier of torchvision: did you mean"),
        ("model.weights=nowhere.pth", "model.weights=nowhere.pth is not a file: name a state dict, imagenet or null"),
        ("+model.kwargs.widht=2", "model.name=resnet18 cannot be built with {'widht': 2}: "),
        ("++model.kwargs.width_per_group=-3", "model.name=resnet18 cannot be built with {'width_per_group': -3}: "),
        ("model.freeze=6", "model.freeze=6: this model has 5 stages before its head (conv1, layer1.0.conv1, "),
        ("+optim.sped=3", "optim.sped is no argument of torch.optim.SGD: it takes lr, momentum"),
        ("optim._target_=torch.optim.Sgd", "optim._target_=torch.optim.Sgd is no class that can be imported: "),
        ("data={augmentation:null,validation:augmented}", "data.validation=augmented is not allowed with"),
    ],
)
def test_what_cannot_work_is_found_before_anything_is_loaded(compose_config, override, message):
    with pytest.raises(UsageError) as raised:
        checks.check(compose_config(override))
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("experiment", ["paper", "quickstart"])
@pytest.mark.parametrize("optim", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["step", "cosine", "onecycle", "plateau"])
def test_every_optimiser_and_schedule_goes_with_every_experiment(compose_config, experiment, optim, schedule):
    checks.check(compose_config(f"experiment={experiment}", f"optim={optim}", f"schedule={schedule}"))


@pytest.mark.parametrize("key", ["foo", "data.colour", "model.widht", "data.augmentation.shear"])
def test_an_added_key_that_nothing_reads_is_refused(compose_config, key):
    with pytest.raises(UsageError, match=rf"^{key} is not a key of the config"):
        checks.check(compose_config(f"+{key}=1"))


def test_arguments_of_torchs_own_classes_may_be_added(compose_config):
    checks.check(compose_config("+optim.dampening=0.1", "+schedule.last_epoch=-1"))
    checks.check(compose_config("+model.kwargs.zero_init_residual=true", "model.freeze=5"))


def test_a_group_without_a_class_is_refused(compose_config):
    with pytest.raises(UsageError, match=r"optim\._target_ has no value"):
        checks.check(compose_config("~optim"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch_size=abc", "batch_size=abc is not allowed: a whole number, 1 or more"),
        ("batch_size=1.5", "batch_size=1.5 is not allowed: a whole number, 1 or more"),
        ("data.stratify=perhaps", "data.stratify=perhaps is not allowed: Value 'perhaps' is not a valid bool"),
        ("optim.lrr=3", "optim.lrr is not a key of the config: did you mean optim.lr?"),
        ("batchsize=3", "batchsize is not a key of the config: did you mean batch_size?"),
        ("optim=sgdd", "Could not find 'optim/sgdd' Available options in 'optim': adamw base sgd"),
        ("batch_size=16,32", "Ambiguous value for argument 'batch_size=16,32': to sweep over several values, add"),
        ("optim=null", "Config group override must be a string or a list"),
    ],
)
def test_what_hydra_refuses_is_said_in_one_line(compose_config, override, message):
    with pytest.raises((hydra_errors.HydraException, ValueError)) as raised:
        compose_config(override)
    assert is_usage(raised.value)
    assert one_line(raised.value).startswith(message)
    assert "\n" not in one_line(raised.value)


def test_a_bug_is_no_mistake_of_the_user():
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - any ValueError of Python itself
        int("x")
    assert not is_usage(raised.value)


@given(st.one_of(st.integers(), st.floats()))
def test_a_learning_rate_is_allowed_exactly_when_it_is_finite_and_above_zero(value):
    assert open_groups.RANGES["optim.lr"].test(value) == (0 < value < float("inf"))


def test_every_key_has_a_comment():
    for file in config.folder().rglob("*.yaml"):
        in_hydra = False
        lines = file.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("#"), f"{file.name} does not say what it is"
        for line in lines:
            in_hydra = line.startswith("hydra:") or (in_hydra and line[:1] in (" ", ""))
            shared = file.parent.name == "experiment" or (file.parent.name in ("data", "model") and file.stem != "base")
            key, _, value = line.partition(":")
            is_value = bool(value.strip()) and not line.lstrip().startswith(("#", "-", "_target_", "name"))
            if is_value and not in_hydra and not shared:
                assert "#" in value, f"{file.name}: {key.strip()} has no comment"


def test_a_process_that_checks_and_is_lost_is_no_good_news(compose_config, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    for outcome, how in [
        (isolation.Outcome(None, -9), "was killed by SIGKILL"),
        (isolation.Outcome(None, 1), "ended with 1"),
    ]:
        monkeypatch.setattr(isolation, "call", lambda *args, outcome=outcome: outcome)
        with pytest.raises(RunError, match=rf"^the points cannot be checked: the process that does so {how}$"):
            checks.check_misfits([compose_config()])


def test_the_first_of_several_that_does_not_fit_is_named(compose_config):
    fits, misfit, worse = compose_config(), compose_config("model.name=alexnot"), compose_config("+optim.sped=1")
    checks.check_misfits([fits])
    with pytest.raises(UsageError, match="alexnot"):
        checks.check_misfits([fits, misfit, worse])
