"""Edits of a live model: what follows is repaired, what has a place is kept, and undo gives back every bit."""

import pytest
import torch
from edit_nets import NETS, SIZE, UNet, bits, made, same
from torch import nn

from convlab.models.gallery import lenet
from convlab.models.live import Edit, LiveModel, bind

X = torch.randn(3, *SIZE[1:], generator=torch.Generator().manual_seed(1))


def outputs(model):
    """In eval mode, modes given back."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    with torch.no_grad():
        y = model(X)
    for module, training in modes:
        module.training = training
    return y


def widths(live):
    """Every layer whose number of channels can be set, with its setting and its value."""
    for path, layer in live.layers.items():
        for name in ("out_channels", "out_features"):
            if name in layer.settings and live.limits(path, name).step and not live.limits(path, name).choices:
                yield path, name, layer.settings[name], int(live.limits(path, name).step)


@pytest.mark.parametrize("name", sorted(NETS))
def test_every_width_grows_without_changing_the_function_and_shrinks_back_to_the_same_weights(name):
    model = made(name)
    live, y = bind(model, SIZE), outputs(model)
    start = {n: t.clone() for n, t in model.state_dict().items()}
    found = list(widths(live))
    assert len(found) >= 4
    for path, setting, value, step in found:
        layer = model.get_submodule(path)
        before = bits(model)
        plan = live.edit(path, **{setting: value + 2 * step})
        assert model.get_submodule(path) is layer
        assert live.trace.output.output_size[1:] == outputs(model).shape[1:]
        if any(change.path == "grouped" and change.name == "in_channels" for change in plan.changes):
            live.undo()  # its groups take other channels now
            continue
        if not any(isinstance(model.get_submodule(p), (nn.GroupNorm, nn.LayerNorm)) for p in plan.paths):
            torch.testing.assert_close(outputs(model)[:, : y.shape[1]], y)
        live.edit(path, **{setting: value})
        assert {n: t.shape for n, t in model.state_dict().items()} == {n: t.shape for n, t in start.items()}
        assert all(torch.equal(t, start[n]) for n, t in model.state_dict().items())
        live.undo()
        live.undo()
        assert same(bits(model), before)


def test_the_columns_of_a_concatenation_stay_with_their_channels():
    model = made("inception")
    kept = model.after.weight.detach().clone()
    bind(model, SIZE).edit("one", out_channels=5)
    now = model.after.weight.detach()
    assert now.shape == (5, 15, 3, 3)
    assert torch.equal(now[:, :7], kept[:, :7])
    assert torch.equal(now[:, 9:], kept[:, 7:])
    assert not now[:, 7:9].any()
    assert torch.equal(model.norm.running_mean[5:], made("inception").norm.running_mean[3:])


def test_a_flattened_map_that_grows_keeps_its_middle():
    model = lenet()
    kept = model.fc1.weight.detach().clone().view(64, 32, 2, 2)
    live = bind(model, SIZE)
    plan = live.edit("pool2", kernel_size=1, stride=1)
    assert [str(c) for c in plan.changes] == [
        "pool2.kernel_size 2 → 1",
        "pool2.stride 2 → 1",
        "fc1.in_features 128 → 512",
    ]
    now = model.fc1.weight.detach().view(64, 32, 4, 4)
    assert torch.equal(now[:, :, 1:3, 1:3], kept)
    assert now.count_nonzero() == kept.count_nonzero()


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d])
@pytest.mark.parametrize("old", [1, 2, 3, 4, 5])
def test_a_kernel_grows_and_shrinks_around_its_centre(kind, old):
    dims = int(kind.__name__[-2])
    net = nn.Sequential(kind(2, 3, old, padding=0), nn.ReLU())
    kept = net[0].weight.detach().clone()
    live = bind(net, (1, 2, *(9,) * dims))
    live.edit("0", kernel_size=old + 2)
    inner = (..., *(slice(1, 1 + old),) * dims)
    assert torch.equal(net[0].weight.detach()[inner], kept)
    assert net[0].weight.count_nonzero() == kept.count_nonzero()
    live.edit("0", kernel_size=old)
    assert torch.equal(net[0].weight, kept)


@pytest.mark.parametrize("old", [1, 2, 3, 4])
def test_a_grown_kernel_is_the_same_function_under_same_padding(old):
    net = nn.Sequential(nn.Conv2d(1, 3, old, padding="same"))
    y = net(X)
    live = bind(net, SIZE)
    for new in range(old + 1, 8):
        live.edit("0", kernel_size=new)
        torch.testing.assert_close(net(X), y)


def test_a_grown_kernel_with_padding_to_match_is_the_same_function():
    model = made("resnet")
    live, y = bind(model, SIZE), outputs(model)
    for path in ("stem.0", "stage1.0.conv1", "stage2.0.conv1"):
        live.edit(path, kernel_size=5, padding=2)
        torch.testing.assert_close(outputs(model), y)


def test_groups_keep_the_weights_within_them():
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 3, padding=1), nn.ConvTranspose2d(8, 4, 2))
    dense = net[1].weight.detach().clone()
    spread = net[2].weight.detach().clone()
    live = bind(net, SIZE)
    live.edit("1", groups=2)
    assert torch.equal(net[1].weight[:4], dense[:4, :2])
    assert torch.equal(net[1].weight[4:], dense[4:, 2:])
    live.edit("2", groups=4)
    assert all(torch.equal(net[2].weight[2 * g : 2 * g + 2, 0], spread[2 * g : 2 * g + 2, g]) for g in range(4))
    y = net(X)
    live.edit("1", groups=1)
    live.edit("2", groups=1)
    torch.testing.assert_close(net(X), y)


def test_a_depthwise_layer_follows_and_multiplies():
    model = made("depthwise")
    live, y = bind(model, SIZE), outputs(model)
    kept = model.block1.dw.weight.detach().clone()
    live.edit("stem", out_channels=6)
    assert (model.block1.dw.groups, model.block1.dw.in_channels) == (6, 6)
    assert torch.equal(model.block1.dw.weight[:4], kept)
    live.edit("block1.dw", out_channels=12)
    assert torch.equal(model.block1.dw.weight[:8:2], kept)
    torch.testing.assert_close(outputs(model), y)


def test_layers_that_a_sum_ties_change_together():
    model = made("resnet")
    live = bind(model, SIZE)
    assert live.layers["stage1.0.conv2"].tied == ("stem.0", "stage1.1.conv2")
    assert live.layers["stage2.0.conv1"].tied == ()
    plan = live.edit("stage1.0.conv2", out_channels=7)
    assert model.stem[0].out_channels == model.stage1[1].conv2.out_channels == model.stage2[0].down[0].in_channels == 7
    assert str(plan.changes[0]) == "stage1.0.conv2.out_channels 4 → 7"


def test_squeeze_and_excitation_is_tied_to_what_it_scales():
    model = made("excited")
    live = bind(model, SIZE)
    assert live.layers["stem"].tied == ("excite",)
    live.edit("stem", out_channels=12)
    assert model.excite.out_features == 12
    assert outputs(model).shape == (3, 10)


def test_the_same_edits_with_the_same_seeds_give_the_same_bits():
    first, second = made("unet"), made("unet")
    live = bind(first, SIZE)
    live.edit("down2.0", out_channels=8)
    live.edit("up1", out_channels=5, seed=7)
    live.redraw("head", "orthogonal")
    live.edit("act", activation="SiLU")
    live.freeze("down1")
    torch.manual_seed(99)
    drawn = torch.rand(1)
    torch.manual_seed(99)
    again = bind(second, SIZE)
    for edit in live.journal:
        again.apply(Edit.from_json(edit.to_json()))
    assert torch.rand(1) == drawn
    assert repr(first) == repr(second)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    third = made("unet")
    bind(third, SIZE).edit("down2.0", out_channels=8, seed=1)
    assert not torch.equal(third.down2[0].weight[5:], first.down2[0].weight[5:])


def test_undo_brings_back_modules_parameters_and_weights_and_redo_what_was_trained_since():
    model = made("resnet")
    live = bind(model, SIZE)
    start = bits(model)
    live.edit("stem.0", out_channels=6)
    live.edit("pool", pool="max")
    live.edit("stage1.0.relu", activation="GELU")
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    trained = bits(model)
    for _ in range(3):
        live.undo()
    assert same(bits(model), start)
    assert not live.can_undo
    with pytest.raises(LookupError, match="nothing to undo"):
        live.undo()
    for _ in range(3):
        live.redo()
    assert same(bits(model), trained)
    assert not live.can_redo
    live.undo()
    live.edit("fc", out_features=3)
    with pytest.raises(LookupError, match="nothing to redo"):
        live.redo()
    assert [e.path for e in live.journal] == ["stem.0", "pool", "fc"]


def test_a_preview_changes_nothing_and_is_what_the_edit_gives():
    model = made("unet")
    live = bind(model, SIZE)
    before = bits(model)
    seen = live.preview("up2", out_channels=9)
    assert same(bits(model), before)
    live.edit("up2", out_channels=9)
    assert [(r.path, r.output_size, r.num_params) for r in seen] == [
        (r.path, r.output_size, r.num_params) for r in live.trace
    ]


def test_an_unchanged_parameter_stays_the_object_it_is():
    model = lenet()
    kept = dict(model.named_parameters())
    bind(model, SIZE).edit("conv2", out_channels=40)
    changed = {n for n, p in model.named_parameters() if p is not kept[n]}
    assert changed == {"conv2.weight", "conv2.bias", "fc1.weight"}


def test_dtype_device_layout_and_requires_grad_stay():
    model = lenet().double().to(memory_format=torch.channels_last)
    model.conv2.weight.requires_grad_(False)
    live = bind(model, SIZE)
    live.edit("conv2", out_channels=40)
    assert model.conv2.weight.dtype == model.fc1.weight.dtype == torch.double
    assert model.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    assert not model.conv2.weight.requires_grad
    assert model.fc1.weight.requires_grad


def test_a_model_with_several_inputs_and_a_sample_batch():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
            self.head = nn.Linear(4, 2)

        def forward(self, x, *, other):
            return self.head((self.a(x) + self.b(other)).mean((2, 3)))

    model = Two()
    given = {"x": torch.rand(2, 1, 5, 5), "other": torch.rand(2, 2, 5, 5)}
    live = bind(model, input_data=given)
    assert live.layers["a"].tied == ("b",)
    live.edit("b", out_channels=6)
    assert model(**given).shape == (2, 2)
    assert isinstance(bind(lenet(), torch.rand(SIZE)), LiveModel)


def test_somebody_elses_surgery_is_seen():
    model = lenet()
    live = bind(model, SIZE)
    assert live.layers["conv1"].settings["out_channels"] == 16
    model.conv1, model.conv2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 32, 3, padding=1)
    assert live.layers["conv1"].settings["out_channels"] == 8
    live.edit("conv1", out_channels=9)
    assert outputs(model).shape == (3, 10)


def test_hooks_stay_on_a_layer_whose_class_changes():
    model, seen = lenet(), []
    handle = model.relu1.register_forward_hook(lambda *_: seen.append(1))
    bind(model, SIZE).edit("relu1", activation="Tanh")
    seen.clear()
    outputs(model)
    assert seen == [1]
    handle.remove()
    outputs(model)
    assert seen == [1]


def test_a_map_to_map_network_may_change_the_size_of_its_map():
    class Maps(UNet):
        def forward(self, x):
            y = self.down1(x)
            return self.head(y)

    model = Maps()
    plan = bind(model, SIZE).edit("head", kernel_size=3)
    assert plan.notes == ("the model returns (2, 10, 6, 6) now, it was (2, 10, 8, 8)",)
