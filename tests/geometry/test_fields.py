"""Composition and merging of operations, against brute force, and against what has been published."""

import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convlab import geometry
from convlab.geometry import Box, Field, IntervalMap

settings.register_profile("geometry", deadline=None, max_examples=150)
settings.load_profile("geometry")


@st.composite
def operations(draw, size: int):
    """One operation on an axis of this size, with arguments that fit."""
    kind = draw(st.sampled_from(["conv", "transposed", "pool", "adaptive", "nearest", "linear", "pad", "crop"]))
    if kind == "conv":
        dilation, padding = draw(st.integers(1, 3)), draw(st.integers(0, 3))
        most = min(5, (size + 2 * padding - 1) // dilation + 1)
        return geometry.conv(size, draw(st.integers(1, most)), draw(st.integers(1, 3)), padding, dilation)
    if kind == "transposed":
        return geometry.conv_transpose(size, draw(st.integers(1, 4)), draw(st.integers(1, 3)))
    if kind == "pool":
        return geometry.max_pool(
            size, draw(st.integers(1, min(4, size))), draw(st.integers(1, 3)), ceil_mode=draw(st.booleans())
        )
    if kind == "adaptive":
        return geometry.adaptive_pool(size, draw(st.integers(1, size)))
    if kind in ("nearest", "linear"):
        return geometry.upsample(size, scale_factor=draw(st.sampled_from([1.5, 2.0, 3.0])), mode=kind)
    if kind == "pad":
        return geometry.pad(size, ((draw(st.integers(0, 3)), draw(st.integers(0, 3))),))
    start = draw(st.integers(0, size - 1))
    return geometry.crop(size, start, draw(st.integers(start + 1, size)), draw(st.integers(1, 2)))


@st.composite
def stacks(draw, size: int = 20, most: int = 5):
    """Operations that follow each other."""
    stack = []
    for _ in range(draw(st.integers(0, most))):
        if size > 120:
            break
        stack.append(draw(operations(size)))
        (size,) = geometry.output_size(stack[-1])
    return stack


def pixels_seen(stack, size: int = 20) -> list[set[int]]:
    """Follow every tap of every operation: the input pixels that each unit sees."""
    seen = [{i} for i in range(size)]
    for (stencil,) in stack:
        seen = [set().union(*(seen[tap] for tap in stencil.taps(i))) for i in range(stencil.output_size)]
    return seen


def hull(seen: set[int]) -> Box:
    return Box.of([(min(seen), max(seen))]) if seen else Box.empty(1)


@given(stacks())
def test_boxes_are_the_hulls_of_the_pixels_that_are_seen(stack):
    field = geometry.compose(geometry.pixels(20), *stack)
    seen = pixels_seen(stack)
    assert field.output_size == (len(seen),)
    assert [field.box(i) for i in range(len(seen))] == [hull(pixels) for pixels in seen]


@given(stacks(), stacks())
def test_merged_boxes_are_the_hulls_of_what_either_branch_sees(left, right):
    a, b = (geometry.compose(geometry.pixels(20), *stack) for stack in (left, right))
    shorter = min(a.output_size[0], b.output_size[0])
    cut = [geometry.crop(f.output_size, 0, shorter) for f in (a, b)]
    merged = geometry.merge(geometry.compose(a, cut[0]), geometry.compose(b, cut[1]))
    for i, (p, q) in enumerate(zip(pixels_seen(left)[:shorter], pixels_seen(right)[:shorter], strict=True)):
        assert merged.box(i) == hull(p | q)


@given(stacks(most=4))
def test_a_map_without_borders_covers_every_box(stack):
    """An interval that pokes out of the image only ever shrinks; a box never reaches beyond its interval."""
    field = geometry.compose(geometry.pixels(20), *stack)
    (line,) = field.maps
    if line is None or any(stencil.border != "zeros" for (stencil,) in stack):
        return
    for i in range(field.output_size[0]):
        for first, last in field.box(i):
            if first <= last:
                assert line.interval(i)[0] <= first
                assert last <= line.interval(i)[1]


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)), min_size=1, max_size=4
    )
)
def test_the_closed_formula_of_araujo_norris_and_sim(layers):
    """r0 = 1 + sum (k_l - 1) prod s_i, S0 = prod s_i, P0 = sum p_l prod s_i (Distill 2019, equations 2 to 5)."""
    image = field = geometry.pixels(600)
    size, jump, padding = 1, 1, 0
    for kernel, stride, pad, dilation in layers:
        span = dilation * (kernel - 1) + 1
        size, padding, jump = size + (span - 1) * jump, padding + pad * jump, jump * stride
        field = geometry.compose(field, geometry.conv(field.output_size, kernel, stride, pad, dilation))
    found = field.receptive_field
    assert (found.size, found.jump, found.phases) == ((size,), (jump,), (1,))
    assert found.start == (-padding + size / 2,)
    middle = field.output_size[0] // 2
    assert image.input_size == field.input_size
    assert field.maps[0].interval(middle) == (middle * jump - padding, middle * jump - padding + size - 1)


def through(field: Field, make, *arguments, **keywords) -> Field:
    return geometry.compose(field, make(field.output_size, *arguments, **keywords))


def test_misaligned_branches_are_joined_and_their_skew_told():
    """The paper's misaligned figure: fields of 5 whose centres lie 2 apart see 7 together."""
    image = geometry.pixels(30)
    left, right = (through(image, geometry.conv, 5, padding=((before, 4 - before),)) for before in (3, 1))
    joined = geometry.merge(left, right).receptive_field
    assert (joined.size, joined.skew, joined.reach) == ((7,), (2.0,), ("local",))
    assert geometry.merge(left, left).receptive_field.skew == (0.0,)


def test_branches_of_different_jump_are_irregular():
    image = geometry.pixels(16)
    half = through(image, geometry.max_pool, 2)
    mixed = geometry.merge(through(image, geometry.crop, 0, 8), half).receptive_field
    assert (mixed.reach, mixed.jump, mixed.start) == (("irregular",), (None,), (None,))
    assert mixed.size == (9,)


def test_upsampling_makes_phases_and_fractional_jumps():
    image = geometry.pixels(16)
    nearest = through(through(image, geometry.conv, 3, padding=1), geometry.upsample, scale_factor=2)
    field = nearest.receptive_field
    assert (field.size, field.jump, field.phases) == ((3,), (Fraction(1, 2),), (2,))
    smooth = through(nearest, geometry.conv, 3, padding=1).receptive_field
    assert (smooth.size, smooth.phases) == ((4,), (2,))
    back = through(nearest, geometry.max_pool, 2).receptive_field
    assert (back.size, back.jump, back.phases) == ((3,), (1,), (1,))
    assert type(back.jump[0]) is int


def test_a_stride_that_skips_and_a_transposed_one_that_leaves_holes():
    holes = through(geometry.pixels(5), geometry.conv_transpose, 1, stride=2)
    assert [holes.box(i).is_empty for i in range(9)] == [False, True] * 4 + [False]
    assert (holes.receptive_field.size, holes.receptive_field.phases) == ((1,), (2,))
    assert holes.receptive_field.start == (0.5,)


def test_a_unit_outside_of_the_grid_is_an_index_error():
    field = geometry.pixels((4, 5))
    with pytest.raises(IndexError, match="outside"):
        field.box((4, 0))
    with pytest.raises(IndexError, match="2"):
        field.box(3)
    with pytest.raises(ValueError, match="at least 0"):
        field.box((-1, 0))


def test_what_does_not_chain_is_refused():
    with pytest.raises(ValueError, match=r"expects an input of \(7,\), but gets \(8,\)"):
        geometry.compose(geometry.pixels(8), geometry.conv(7, 3))
    with pytest.raises(ValueError, match="branches"):
        geometry.merge(geometry.pixels(8), geometry.pixels(9))
    with pytest.raises(ValueError, match="at least one"):
        geometry.merge()


def test_a_box_is_slices_pairs_and_size():
    box = Box((1, 2), (3, 2))
    assert box.slices == (slice(1, 4), slice(2, 3))
    assert list(box) == [(1, 3), (2, 2)]
    assert box.size == (3, 1)
    assert not box.is_empty
    assert Box.of([(0, 3), (2, 1)]) == Box.empty(2)
    assert Box.empty(2).size == (0, 0)


def test_a_field_reads_as_people_write_it():
    assert str(geometry.pixels((8, 8)).receptive_field) == "1 x 1"


def test_equal_patterns_have_one_spelling():
    line = IntervalMap.pixels(12)
    (double,) = geometry.upsample(12, scale_factor=2)
    (halve,) = geometry.crop(24, 0, 24, 2)
    assert line.through(double).through(halve) == line


def test_geometry_needs_the_standard_library_alone():
    script = "import sys, convlab.geometry; assert not {'torch', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
