"""Sizes and reads of every operation, against torch itself: which inputs move which outputs."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convlab import geometry

torch.set_num_threads(1)
sizes = st.integers(1, 24)
settings.register_profile("geometry", deadline=None, max_examples=150)
settings.load_profile("geometry")


def reads(operation, size: int) -> list[tuple[int, ...]]:
    """Feed an impulse at every position: for each output of torch's operation the inputs that reach it."""
    out = operation(torch.eye(size, dtype=torch.float64)[:, None])[:, 0]
    return [tuple(int(i) for i in column.nonzero()) for column in (out.isfinite() & (out.abs() > 1e-12)).T]


def agrees(stencil: geometry.Stencil, operation) -> None:
    expected = reads(operation, stencil.input_size)
    assert stencil.output_size == len(expected)
    assert [stencil.taps(i) for i in range(stencil.output_size)] == expected


def both_refuse(make, operation, size: int) -> bool:
    """Whether geometry refuses; torch must then refuse as well."""
    refusal = None
    try:
        make()
    except ValueError as error:
        refusal = str(error)
    if refusal is None:
        return False
    assert "would work" in refusal
    with pytest.raises((RuntimeError, ValueError)):
        operation(torch.eye(size, dtype=torch.float64)[:, None])
    return True


@given(sizes, st.integers(1, 7), st.integers(1, 5), st.integers(0, 5), st.integers(1, 4))
def test_conv(size, kernel, stride, padding, dilation):
    def operation(x):
        return F.conv1d(x, torch.ones(1, 1, kernel, dtype=x.dtype), None, stride, padding, dilation)

    def make():
        return geometry.conv(size, kernel, stride, padding, dilation)

    if not both_refuse(make, operation, size):
        agrees(make()[0], operation)


@given(sizes, st.integers(1, 8), st.integers(1, 4))
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_conv_with_padding_same(size, kernel, dilation):
    (stencil,) = geometry.conv(size, kernel, padding="same", dilation=dilation)
    agrees(stencil, lambda x: F.conv1d(x, torch.ones(1, 1, kernel, dtype=x.dtype), None, 1, "same", dilation))


@given(sizes, st.integers(1, 5), st.integers(0, 4), st.integers(0, 4))
def test_conv_with_sides_padded_differently(size, kernel, before, after):
    assume(kernel <= size + before + after)
    (stencil,) = geometry.conv(size, kernel, padding=((before, after),))
    agrees(stencil, lambda x: F.conv1d(F.pad(x, (before, after)), torch.ones(1, 1, kernel, dtype=x.dtype)))


@given(sizes, st.integers(1, 6), st.integers(1, 4), st.integers(0, 4), st.integers(0, 3), st.integers(1, 3))
def test_conv_transpose(size, kernel, stride, padding, output_padding, dilation):
    def operation(x):
        weight = torch.ones(1, 1, kernel, dtype=x.dtype)
        return F.conv_transpose1d(x, weight, None, stride, padding, output_padding, 1, dilation)

    def make():
        return geometry.conv_transpose(size, kernel, stride, padding, output_padding, dilation)

    if not both_refuse(make, operation, size):
        agrees(make()[0], operation)


@given(sizes, st.integers(1, 6), st.integers(1, 5), st.integers(0, 3), st.integers(1, 3), st.booleans())
def test_max_pool(size, kernel, stride, padding, dilation, ceil_mode):
    def operation(x):
        return F.max_pool1d(x, kernel, stride, padding, dilation, ceil_mode)

    def make():
        return geometry.max_pool(size, kernel, stride, padding, dilation, ceil_mode)

    if not both_refuse(make, operation, size):
        agrees(make()[0], operation)


@given(sizes, st.integers(1, 6), st.integers(1, 5), st.integers(0, 3), st.booleans())
def test_avg_pool(size, kernel, stride, padding, ceil_mode):
    def operation(x):
        return F.avg_pool1d(x, kernel, stride, padding, ceil_mode)

    def make():
        return geometry.avg_pool(size, kernel, stride, padding, ceil_mode)

    if not both_refuse(make, operation, size):
        agrees(make()[0], operation)


@given(sizes, st.integers(1, 6), st.integers(1, 5), st.booleans())
def test_lp_pool(size, kernel, stride, ceil_mode):
    assume(kernel <= size)
    (stencil,) = geometry.lp_pool(size, kernel, stride, ceil_mode)
    agrees(stencil, lambda x: F.lp_pool1d(x, 2, kernel, stride, ceil_mode))


def test_a_pooling_strides_by_its_kernel_if_not_told_otherwise():
    assert geometry.output_size(geometry.max_pool((9, 8), (3, 2))) == (3, 4)


@given(sizes, sizes)
def test_adaptive_pool(size, output_size):
    (stencil,) = geometry.adaptive_pool(size, output_size)
    agrees(stencil, lambda x: F.adaptive_avg_pool1d(x, output_size))
    agrees(stencil, lambda x: F.adaptive_max_pool1d(x, output_size))


def test_adaptive_pool_keeps_an_axis_for_none():
    assert geometry.output_size(geometry.adaptive_pool((9, 7), (None, 2))) == (9, 2)


def resized(x, **how):
    """Resample in single precision, on two axes: torch's kernel for one rounds otherwise at rare ratios."""
    return F.interpolate(x.float()[..., None].repeat(1, 1, 1, 3), **how)[..., 1]


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area"])
@given(size=sizes, output_size=st.integers(1, 60))
def test_upsample_to_a_size(mode, size, output_size):
    (stencil,) = geometry.upsample(size, output_size, mode=mode)
    agrees(stencil, lambda x: resized(x, size=(output_size, 3), mode=mode))


@given(size=st.integers(1, 400), output_size=st.integers(1, 400))
def test_nearest_neighbours_are_rounded_as_torch_rounds_them(size, output_size):
    (stencil,) = geometry.upsample(size, output_size)
    found = F.interpolate(torch.arange(size).float()[None, None], output_size)[0, 0]
    assert [stencil.taps(i) for i in range(output_size)] == [(int(i),) for i in found]


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@given(size=sizes, scale=st.sampled_from([0.3, 0.5, 0.6, 0.75, 1.0, 1.3, 1.5, 2.0, 2.5, 3.0, 4.0, 7 / 3]))
def test_upsample_by_a_factor(mode, size, scale):
    assume(int(size * scale) >= 1)
    stencil, _ = geometry.upsample((size, 3), scale_factor=(scale, 2.0), mode=mode)
    agrees(stencil, lambda x: resized(x, scale_factor=(scale, 2), mode=mode))
    (exact,) = geometry.upsample(size, scale_factor=scale, mode=mode, recompute_scale_factor=True)
    agrees(exact, lambda x: resized(x, scale_factor=(scale, 2), mode=mode, recompute_scale_factor=True))


@pytest.mark.parametrize("align_corners", [False, True])
@given(size=sizes, output_size=st.integers(1, 40))
def test_linear_upsampling(align_corners, size, output_size):
    (stencil,) = geometry.upsample(size, output_size, mode="linear", align_corners=align_corners)
    agrees(stencil, lambda x: F.interpolate(x, output_size, mode="linear", align_corners=align_corners))


@pytest.mark.parametrize("align_corners", [False, True])
@given(size=sizes, output_size=st.integers(1, 40))
def test_bicubic_upsampling(align_corners, size, output_size):
    (stencil,) = geometry.upsample(size, output_size, mode="bicubic", align_corners=align_corners)

    def operation(x):
        wide = x[..., None].expand(-1, -1, -1, 3)
        return F.interpolate(wide, (output_size, 3), mode="bicubic", align_corners=align_corners)[..., 1]

    agrees(stencil, operation)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@given(size=st.integers(2, 24), output_size=st.integers(1, 24))
def test_antialiased_resampling(mode, size, output_size):
    (stencil,) = geometry.upsample(size, output_size, mode=mode, antialias=True)

    def operation(x):
        return F.interpolate(x[..., None].expand(-1, -1, -1, 4), (output_size, 4), mode=mode, antialias=True)[..., 1]

    agrees(stencil, operation)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@given(size=sizes, before=st.integers(-3, 9), after=st.integers(-3, 9))
def test_pad(mode, size, before, after):
    def operation(x):
        return F.pad(x, (before, after), mode)

    def make():
        return geometry.pad(size, ((before, after),), mode)

    assume(size + before + after > 0 and (mode == "constant" or min(before, after) >= 0))
    if not both_refuse(make, operation, size):
        agrees(make()[0], operation)


@given(sizes, st.integers(-30, 30), st.integers(-30, 30), st.integers(1, 5))
def test_crop(size, start, stop, step):
    assume(len(range(size)[start:stop:step]))
    (stencil,) = geometry.crop(size, start, stop, step)
    agrees(stencil, lambda x: x[..., start:stop:step])


@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 5), st.integers(1, 3))
def test_keras_same_padding_keeps_ceil_of_size_over_stride(size, kernel, stride, dilation):
    sides = geometry.keras_same_padding(size, kernel, stride, dilation)
    (stencil,) = geometry.conv(size, kernel, stride, (sides,), dilation)
    assert stencil.output_size == -(-size // stride)
    assert 0 <= sides[1] - sides[0] <= 1


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_one_two_and_three_axes(axes):
    image = torch.rand(1, 1, *range(8, 8 + axes))
    weight = torch.rand(1, 1, *range(1, 1 + axes))
    conv = getattr(F, f"conv{axes}d")(image, weight, stride=2, padding=1)
    made = geometry.conv(tuple(image.shape[2:]), tuple(weight.shape[2:]), 2, 1)
    assert geometry.output_size(made) == tuple(conv.shape[2:])
    assert len(geometry.max_pool((9,) * axes, 2)) == axes


REFUSED = {
    "string": (lambda: geometry.conv(8, "3"), TypeError, "kernel_size must be a whole number, got '3'; 1 would work"),
    "fraction": (lambda: geometry.conv((8.0, 8), 3), TypeError, "input_size must be a whole number, got 8.0"),
    "zero": (lambda: geometry.conv(8, 3, stride=0), ValueError, "stride must be at least 1, got 0; 1 would work"),
    "negative": (lambda: geometry.max_pool(8, 3, padding=-1), ValueError, "padding must be at least 0, got -1"),
    "kernel": (lambda: geometry.conv(8, 11, padding=1), ValueError, "the padded input of 10; kernel_size 10 would"),
    "axes": (lambda: geometry.conv((8, 8), (3, 3, 3)), ValueError, "one for each of 2 axes, got (3, 3, 3)"),
    "word": (lambda: geometry.conv(8, 3, padding="full"), ValueError, '"same" or "valid", got \'full\''),
    "same": (lambda: geometry.conv(8, 3, 2, padding="same"), ValueError, "stride 1 only"),
    "four": (lambda: geometry.conv((8,) * 4, 3), ValueError, "one to three axes"),
    "output": (lambda: geometry.conv_transpose(8, 3, 2, output_padding=2), ValueError, "smaller than stride 2"),
    "mode": (lambda: geometry.upsample(8, 16, mode="cubic"), ValueError, "got 'cubic'"),
    "neither": (lambda: geometry.upsample(8), ValueError, "give size or scale_factor"),
    "factor": (lambda: geometry.upsample(8, scale_factor="2"), ValueError, "got '2'"),
    "reflect": (lambda: geometry.pad(4, 4, "reflect"), ValueError, "3 would work"),
    "padding": (lambda: geometry.pad(4, 4, "mirror"), ValueError, "got 'mirror'"),
    "empty": (lambda: geometry.crop(4, 3, 3), ValueError, "is empty"),
    "keyword": (lambda: geometry.conv(4, 3, strides=2), TypeError, "strides"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_with_a_value_that_can(name):
    call, kind, sentence = REFUSED[name]
    with pytest.raises(kind) as refusal:
        call()
    assert sentence in str(refusal.value)
