"""The trace's own interface: records, edges, inputs of every shape, tables."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convlab.geometry import Box
from convlab.models.trace import Trace, trace


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.relu(x + self.conv2(self.relu(self.conv1(x))))


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, 2, 3),
        nn.MaxPool2d(3, 2, 1),
        Block(8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


class Lambda(nn.Module):
    """A module whose forward is a function of itself and the inputs."""

    def __init__(self, function, **children) -> None:
        super().__init__()
        self.function = function
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, x):
        return self.function(self, x)


# --- records and edges ------------------------------------------------------------------------------------------------


def test_records_are_the_calls_of_leaves_and_functions_in_order():
    traced = trace(small(), (1, 3, 64, 64))
    assert [record.path for record in traced] == [
        *("0", "1", "2.conv1", "2.relu", "2.conv2", "2.add", "2.relu", "3", "4", "5"),
    ]
    assert [record.kind for record in traced][:6] == ["Conv2d", "MaxPool2d", "Conv2d", "ReLU", "Conv2d", "add"]
    assert len(traced) == len(traced.records) == 10
    assert all(record.is_leaf for record in traced)


def test_a_residual_branch_has_two_edges_into_its_sum():
    traced = trace(small(), (1, 3, 64, 64))
    named = {(traced.records[a].path, traced.records[b].path) for a, b in traced.edges}
    assert {("1", "2.add"), ("2.conv2", "2.add"), ("1", "2.conv1")} <= named
    assert ("2.conv1", "2.add") not in named


def test_a_skip_around_an_identity_keeps_its_own_source():
    net = Lambda(
        lambda m, x: m.identity(m.conv(x)) + m.conv2(m.conv(x)),
        identity=nn.Identity(),
        conv=nn.Conv2d(1, 1, 1),
        conv2=nn.Conv2d(1, 1, 1),
    )
    traced = trace(net, (1, 1, 4, 4))
    named = [(traced.records[a].path, traced.records[b].path) for a, b in traced.edges]
    assert named == [("conv", "identity"), ("conv", "conv2"), ("identity", "add"), ("conv2", "add")]


def test_an_item_is_a_leaf_or_what_comes_out_of_a_container():
    traced = trace(small(), (1, 3, 64, 64))
    assert traced["2.conv2"].kind == "Conv2d"
    assert traced["2.conv2"].receptive_field.size == (27, 27)
    block = traced["2"]
    assert (block.kind, block.is_leaf) == ("Block", False)
    assert block.num_params == 2 * (8 * 8 * 9 + 8)
    assert block.mult_adds == traced["2.conv1"].mult_adds + traced["2.conv2"].mult_adds
    with pytest.raises(KeyError, match="no 'nowhere'"):
        traced["nowhere"]


def test_a_module_called_twice_has_two_records():
    net = Lambda(lambda m, x: m.conv(F.relu(m.conv(x))), conv=nn.Conv2d(2, 2, 3))
    traced = trace(net, (1, 2, 16, 16))
    first, last = traced.calls("conv")
    assert (first.call, last.call) == (0, 1)
    assert traced["conv"] is last
    assert (first.receptive_field.size, last.receptive_field.size) == ((3, 3), (5, 5))
    assert traced.total_params == 2 * 2 * 9 + 2


def test_a_function_is_named_after_the_module_that_calls_it_and_never_hides_a_child():
    def forward(m, x):
        y = F.max_pool2d(m.conv(x), 2)
        y += 1
        return torch.cat([m.relu(y), F.relu(y)], 1)

    traced = trace(nn.Sequential(Lambda(forward, conv=nn.Conv2d(1, 2, 3), relu=nn.ReLU())), (1, 1, 16, 16))
    assert [record.path for record in traced] == ["0.conv", "0.max_pool2d", "0.add", "0.relu", "0.relu()", "0.cat"]


def test_a_model_of_functions_alone_shows_them_with_their_parameters():
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, 5, 5))
            self.weight.requires_grad_(False)

        def forward(self, x):
            return F.avg_pool2d(F.conv2d(x, self.weight, stride=2), 2)

    conv, pool = trace(Functional(), (1, 3, 33, 33))
    assert (conv.path, conv.num_params, conv.trainable) == ("conv2d", 300, 0)
    assert conv.mult_adds == 300 * 15 * 15
    assert pool.receptive_field.size == (7, 7)


def test_a_bare_layer_can_be_traced():
    (record,) = trace(nn.Conv2d(3, 4, 3), (2, 3, 8, 8))
    assert (record.path, record.kind, record.output_size) == ("", "Conv2d", (2, 4, 6, 6))


def test_counts_are_those_of_a_hand_calculation():
    conv = trace(nn.Conv2d(3, 8, 5, stride=2, bias=True).half(), (2, 3, 21, 21)).output
    assert conv.num_params == conv.trainable == 8 * 3 * 25 + 8
    assert conv.mult_adds == 2 * 9 * 9 * conv.num_params
    assert conv.memory == 2 * 8 * 9 * 9 * 2
    transposed = trace(nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False), (1, 4, 5, 5)).output
    assert transposed.mult_adds == 5 * 5 * 4 * 6 * 4  # torchinfo counts every output position: 4 times as many
    tokens = trace(nn.Linear(16, 4), (2, 10, 16)).output
    assert tokens.mult_adds == 2 * 10 * (16 * 4 + 4)


def test_attention_counts_its_matrix_products():
    batch, length, width = 2, 10, 16
    projections = 4 * batch * length * (width * width + width)
    scores_and_values = 2 * batch * length * length * width
    query = torch.rand(batch, length, width)
    for weights in (True, False):
        attention = Lambda(
            lambda m, x, w=weights: m.mha(x, x, x, need_weights=w)[0],
            mha=nn.MultiheadAttention(width, 4, batch_first=True),
        )
        counted = trace(attention, input_data=query).total_mult_adds
        assert counted == pytest.approx(projections + scores_and_values, rel=0.01)


# --- inputs -----------------------------------------------------------------------------------------------------------


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left_conv, self.right_conv = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 2, 5, padding=2)

    def forward(self, left, right=None):
        return self.left_conv(left) + (0 if right is None else self.right_conv(right))


SIZE = (1, 1, 12, 12)


@pytest.mark.parametrize(
    "given",
    [
        {"input_size": [SIZE, SIZE]},
        {"input_size": {"left": SIZE, "right": SIZE}},
        {"input_data": (torch.rand(SIZE), torch.rand(SIZE))},
        {"input_data": {"right": torch.rand(SIZE), "left": torch.rand(SIZE)}},
    ],
)
def test_several_inputs_have_the_names_of_forwards_parameters(given):
    traced = trace(TwoInputs(), **given)
    fields = traced.output.receptive_fields
    assert {name: field.size for name, field in fields.items()} == {"left": (3, 3), "right": (5, 5)}
    assert traced.output.field((6, 6), input="right") == Box((4, 4), (8, 8))
    assert traced.input_sizes == {"left": SIZE, "right": SIZE}
    assert set(traced["left_conv"].receptive_fields) == {"left"}
    with pytest.raises(KeyError, match="left, right"):
        traced.output.field((0, 0), input="middle")


def test_an_optional_input_may_be_left_out():
    assert list(trace(TwoInputs(), SIZE).output.receptive_fields) == ["left"]


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, batch):
        return {
            "out": self.conv(batch["image"]),
            "aux": (batch["image"], [self.conv(self.conv(batch["more"]["deep"]))]),
        }


def test_a_dict_as_the_one_input_and_a_nested_output():
    traced = trace(Nested(), input_data={"image": torch.rand(SIZE), "more": {"deep": torch.rand(SIZE)}})
    assert list(traced.input_sizes) == ["image", "more.deep"]
    first, image, deep = traced.outputs
    assert first is traced.output
    assert first.receptive_field.size == (3, 3)
    assert image.receptive_field.size == (1, 1)
    assert deep.receptive_field is None
    assert deep.receptive_fields["more.deep"].size == (5, 5)
    same = trace(Nested(), {"image": SIZE, "more": {"deep": SIZE}})
    assert same.outputs[2].output_size == deep.output_size


def test_a_list_as_the_one_input():
    net = Lambda(lambda m, xs: m.conv(xs[0]) + xs[1], conv=nn.Conv2d(1, 1, 3, padding=1))
    fields = trace(net, input_data=[torch.rand(SIZE), torch.rand(SIZE)]).output.receptive_fields
    assert {name: field.size for name, field in fields.items()} == {"x.0": (3, 3), "x.1": (1, 1)}


def test_any_number_of_inputs():
    class Sum(nn.Module):
        def forward(self, *images):
            return sum(images)

    assert list(trace(Sum(), [SIZE, SIZE, SIZE]).output.receptive_fields) == ["args.0", "args.1", "args.2"]


def test_inputs_that_are_no_tensors_are_passed_on():
    class Repeats(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x, times):
            for _ in range(times):
                x = self.conv(x)
            return x

    assert trace(Repeats(), input_data=(torch.rand(SIZE), 3)).output.receptive_field.size == (7, 7)


def test_real_input_is_neither_changed_nor_marked():
    image = torch.rand(SIZE, requires_grad=True)
    before = image.detach().clone()
    trace(Lambda(lambda m, x: F.relu(x * 2, inplace=True) if float(x.sum()) > 0 else x), input_data=image)
    assert torch.equal(image.detach(), before)
    assert image.__dict__ == {}


def test_a_model_in_half_precision_gets_such_an_input():
    record = trace(small().half(), (1, 3, 64, 64)).output
    assert record.memory == 10 * 2


def test_a_model_on_meta_is_traced_alike():
    there, here = trace(small().to("meta"), (1, 3, 64, 64)), trace(small(), (1, 3, 64, 64))
    assert repr(there) == repr(here)


def test_integers_may_index_an_embedding():
    net = Lambda(
        lambda m, x: m.conv(m.embedding(x).transpose(1, 2)), embedding=nn.Embedding(50, 8), conv=nn.Conv1d(8, 8, 3)
    )
    field = trace(net, input_data=torch.randint(50, (2, 20))).output.receptive_field
    assert field.size == (3,)


# --- what a record says of fields -----------------------------------------------------------------------------------


def test_global_fields_keep_the_local_one_beside():
    field = trace(small(), (1, 3, 64, 64)).output.receptive_field
    assert (field.reach, field.size, field.jump) == (("global", "global"), (27, 27), (4, 4))
    assert str(field) == "global (27 x 27)"


def test_field_takes_a_unit_with_or_without_channel():
    net = Lambda(
        lambda m, x: torch.cat([m.wide(x), m.thin(x)], 1), wide=nn.Conv2d(1, 1, 5, padding=2), thin=nn.Conv2d(1, 1, 1)
    )
    record = trace(net, (1, 1, 10, 10)).output
    assert record.field((5, 5)) == Box((3, 3), (7, 7))
    assert record.field((1, 5, 5)) == Box((5, 5), (5, 5))
    assert record.field((0, 0, 5, 5)) == Box((3, 3), (7, 7))
    assert record.field((0, 9)) == Box((0, 7), (2, 9))


def test_field_of_a_unit_in_padding_is_empty():
    box = trace(nn.ZeroPad2d(2), (1, 1, 6, 6)).output.field((0, 5))
    assert box.is_empty
    assert box.slices == (slice(0, 0), slice(0, 0))


@pytest.mark.parametrize("unit", [(0, 6), (-1, 0), (0,), (0, 0, 0, 0, 0)])
def test_a_unit_out_of_range_is_an_index_error(unit):
    record = trace(nn.Conv2d(1, 1, 3), (1, 1, 8, 8)).output
    with pytest.raises(IndexError, match="unit"):
        record.field(unit)


def test_spatial_dimensions_are_found_where_they_were_moved():
    channels_last = trace(Lambda(lambda m, x: x.permute(0, 2, 3, 1)), (1, 3, 8, 10)).output
    assert channels_last.spatial_dims == (1, 2)
    assert channels_last.field((7, 9)) == Box((7, 9), (7, 9))
    tokens = trace(
        Lambda(lambda m, x: m.patch(x).flatten(2).transpose(1, 2), patch=nn.Conv2d(3, 8, 4, 4)), (1, 3, 8, 12)
    ).output
    assert tokens.spatial_dims == (1,)
    assert tokens.field((4,)) == Box((4, 4), (7, 7))


def test_decisions_by_data_are_said():
    def forward(m, x):
        x = m.a(x)
        return m.b(x) if float(x.mean()) < 100 else x

    traced = trace(Lambda(forward, a=nn.Conv2d(1, 1, 3), b=nn.Conv2d(1, 1, 3)), SIZE)
    assert traced["a"].receptive_field.reach == ("local", "local")
    assert traced["b"].receptive_field.reach == ("irregular", "irregular")
    assert traced["b"].receptive_field.size == (5, 5)
    assert "value of an activation" in traced.notes[0]


def test_a_script_module_is_opaque():
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()))
    traced = trace(nn.Sequential(nn.Conv2d(1, 1, 3), scripted, nn.Conv2d(2, 1, 3)), SIZE)
    assert [record.kind for record in traced] == ["Conv2d", "opaque", "Conv2d"]
    assert traced["1"].output_size == (1, 2, 8, 8)
    assert traced.output.receptive_field.reach == ("global", "global")


def test_an_unknown_operation_is_said():
    traced = trace(Lambda(lambda m, x: torch.linalg.inv(x)), (1, 1, 6, 6))
    assert traced.output.receptive_field.reach == ("global", "global")
    assert any("unknown" in note for note in traced.notes)


def test_a_compiled_model_is_traced_as_what_was_compiled():
    traced = trace(torch.compile(nn.Sequential(nn.Conv2d(1, 2, 3))), SIZE)
    assert traced.output.receptive_field.size == (3, 3)


# --- tables -----------------------------------------------------------------------------------------------------------


def test_the_data_frame_has_torchinfos_columns():
    traced = trace(small(), (1, 3, 64, 64))
    frame = traced.to_dataframe()
    assert {"input_size", "output_size", "num_params", "mult_adds", "receptive_field", "jump", "start"} <= set(frame)
    assert len(frame) == len(traced)
    assert frame["mult_adds"].sum() == traced.total_mult_adds
    two = trace(TwoInputs(), [SIZE, SIZE]).to_dataframe()
    assert two["receptive_field[right]"].iloc[-1] == (5, 5)


def test_the_html_escapes_every_name_and_shows_all():
    net = nn.Sequential()
    net.add_module("<script>", nn.Conv2d(1, 1, 3))
    page = trace(net, (1, 1, 8, 8))._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "Conv2d" in page


def test_a_plot_draws_into_the_axes_that_it_is_given():
    from convlab.plots.figure import new_figure

    ax = new_figure().add_subplot()
    traced = trace(small(), (1, 3, 64, 64))
    assert traced.plot(ax) is ax
    assert [bar.get_width() for bar in ax.patches] == [record.receptive_field.size[0] for record in traced]
    assert traced.plot() is not ax


def test_importing_trace_loads_no_pandas_and_no_matplotlib():
    script = (
        "import sys, torch, convlab.models.trace as t; from torch import nn\n"
        "t.trace(nn.Conv2d(1, 1, 3), (1, 1, 8, 8))\n"
        "assert not {'pandas', 'matplotlib', 'ipywidgets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_numpy_integers_are_whole_numbers():
    assert isinstance(trace(nn.Conv2d(1, 1, 3), tuple(np.array([1, 1, 8, 8]))), Trace)


def test_what_was_flipped_may_be_moved_on():
    net = Lambda(lambda m, x: x.flip(2).permute(0, 2, 3, 1).flip(1).permute(0, 3, 1, 2))
    record = trace(net, (1, 4, 7, 7)).output
    assert record.field((1, 2)) == Box((1, 2), (1, 2))
    assert trace(Lambda(lambda m, x: x.flip(2)), (1, 4, 7, 7)).output.field((1, 2)) == Box((5, 2), (5, 2))
