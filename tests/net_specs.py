"""Networks drawn at random, the impossible among them."""

from hypothesis import assume
from hypothesis import strategies as st

from convlab.limits import SpecError
from convlab.net_spec import ACTIVATIONS, INITS, KINDS, NORMS, POOLS, Block, Head, NetSpec

BLOCKS = {
    "out_channels": st.sampled_from([1, 3, 8, 16]),
    "kind": st.sampled_from(KINDS),
    "repeat": st.integers(1, 2),
    "kernel_size": st.integers(1, 5),
    "stride": st.sampled_from([1, 1, 1, 2, 3]),
    "padding": st.sampled_from(["same", "keras_same", "keras_same", "valid", 0, 1, 2]),
    "norm": st.sampled_from(NORMS),
    "activation": st.sampled_from(ACTIVATIONS),
    "pool": st.sampled_from(POOLS),
    "pool_size": st.integers(2, 3),
    "dropout": st.sampled_from([0.0, 0.2]),
    "bias": st.booleans(),
}
HEADS = st.builds(
    Head,
    st.sampled_from(["flatten", "avg"]),
    hidden=st.lists(st.integers(1, 9), max_size=2).map(tuple),
    activation=st.sampled_from(ACTIVATIONS),
    dropout=st.sampled_from([0.0, 0.5]),
) | st.builds(Head, st.just("pixels"), dropout=st.sampled_from([0.0, 0.5]))


def arguments(**fixed):
    """What a `NetSpec` is asked to be, its blocks as dicts; some of it is impossible."""
    block = st.fixed_dictionaries({**BLOCKS, **{name: st.just(value) for name, value in fixed.items()}})
    return st.fixed_dictionaries(
        {
            "input_size": st.tuples(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24)),
            "num_classes": st.integers(1, 4),
            "blocks": st.lists(block, min_size=1, max_size=3).map(tuple),
            "head": HEADS,
            "init": st.sampled_from(INITS),
        }
    )


@st.composite
def chains(draw):
    """Networks that are possible."""
    values = draw(arguments())
    return possible({**values, "blocks": tuple(map(repaired, values["blocks"]))})


@st.composite
def unets(draw):
    """U-Nets that are possible."""
    depth = draw(st.integers(2, 3))
    blocks = draw(st.lists(st.fixed_dictionaries({**BLOCKS, "stride": st.just(1)}), min_size=depth, max_size=depth))
    blocks = [{**repaired(block), "padding": "keras_same", "pool": "max", "pool_size": 2} for block in blocks]
    blocks[-1]["pool"] = "none"
    size = draw(st.tuples(st.integers(1, 3), st.integers(4, 24), st.integers(4, 24)))
    return possible({**draw(arguments()), "blocks": tuple(blocks), "form": "unet", "input_size": size})


def repaired(block):
    """A block that is possible on its own, as most of the drawn ones are not."""
    if block["kind"] == "inception":
        block = {**block, "stride": 1, "padding": "same", "out_channels": 16}
    elif block["kind"] == "residual" or (block["padding"] == "same" and block["stride"] > 1):
        block = {**block, "padding": "keras_same"}
    return block


def possible(values):
    try:
        return made(values)
    except SpecError:
        assume(False)


def made(values):
    blocks = tuple(
        Block(block["out_channels"], **{k: v for k, v in block.items() if k != "out_channels"})
        for block in values["blocks"]
    )
    return NetSpec(**{**values, "blocks": blocks})
