"""A network as a value: what it refuses, in which words, and that it survives being written down."""

import dataclasses
import json
import pickle
import subprocess
import sys

import net_specs
import numpy as np
import pytest
from hypothesis import given, settings

from convlab.limits import SpecError
from convlab.net_spec import CHOICES, MOST_BLOCKS, NET_LIMITS, Block, Head, NetSpec

CLASSES = {"Block": Block, "Head": Head, "NetSpec": NetSpec}


@settings(deadline=None)
@given(net_specs.chains() | net_specs.unets())
def test_a_network_survives_json_pickle_repr_and_replace(spec):
    assert NetSpec.from_json(spec.to_json()) == spec
    assert NetSpec.from_dict(spec.to_dict()) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert eval(repr(spec)) == spec
    assert spec.replace() == spec
    assert hash(spec.replace()) == hash(spec)


def make(owner, **values):
    return Block(values.pop("out_channels", 8), **values) if owner == "Block" else CLASSES[owner](**values)


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner in NET_LIMITS for name in NET_LIMITS[owner]])
def test_numbers_have_limits(owner, name):
    limits = NET_LIMITS[owner][name]
    for value in (limits.low, limits.high):
        assert getattr(make(owner, **{name: int(value) if limits.whole else value, **helps(name)}), name) == value
    for value in (limits.low - 1, limits.high + 1, float("nan"), "3", None, True, [], 10**400):
        with pytest.raises(SpecError, match=rf"^{name} must be .*; try {name}=\S+\.$"):
            make(owner, **{name: value})


def helps(name):
    return {"padding": "keras_same"} if name == "stride" else {}


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner in CHOICES for name in CHOICES[owner]])
def test_words_are_known_ones(owner, name):
    words = CHOICES[owner][name]
    for word in words:
        if word != "unet":
            assert getattr(make(owner, **{name: word}), name) == word
    for value in ("", words[0].upper(), 0, None, [words[0]]):
        with pytest.raises(SpecError, match=rf"^{name} must be one of .*; try {name}='\w+'\.$"):
            make(owner, **{name: value})


REFUSED = [
    # What is asked, what is said, and what works.
    (
        {"input_size": (1, 8, 8), "blocks": Block.ladder(8, 8, 8, 8)},
        r"block 4 has an input of 1x1 and pools 2x2; use at most 3 blocks, or pool='none' there",
        [{"input_size": (1, 8, 8), "blocks": Block.ladder(8, 8, 8)}],
    ),
    (
        {"input_size": (1, 2, 9), "blocks": [Block(8, pool_size=3)]},
        r"block 1 has an input of 2x9 and pools 3x3; try pool='none' there",
        [{"input_size": (1, 2, 9), "blocks": [Block(8, pool="none")]}],
    ),
    (
        {"input_size": (1, 8, 8), "blocks": Block.ladder(8, 8, kernel_size=5, padding="valid")},
        r"block 2 has an input of 2x2, which does not hold kernel_size=5; try kernel_size=2 or padding='keras_same'",
        [{"input_size": (1, 8, 8), "blocks": (Block(8, kernel_size=5), Block(8, kernel_size=2, padding="valid"))}],
    ),
    (
        {"input_size": (1, 2, 4), "blocks": [Block(8, kernel_size=7, padding=2, pool="none")]},
        r"block 1 has an input of 2x4 \(padded: 6x8\), which does not hold kernel_size=7; try kernel_size=6",
        [{"input_size": (1, 2, 4), "blocks": [Block(8, kernel_size=6, padding=2, pool="none")]}],
    ),
    (
        {"blocks": [Block(8, kind="residual", kernel_size=5, padding=1)]},
        r"block 1 is residual and adds its input of 28x28 to an output of 24x24, .*; try padding='same'",
        [{"blocks": [Block(8, kind="residual", kernel_size=5, padding="same")]}],
    ),
    (
        {"blocks": [Block(8, norm="instance", pool_size=4), Block(8, pool_size=7), Block(8, norm="instance")]},
        r"block 3 has maps of 1x1, whose only value norm='instance' would subtract; try norm='group' there",
        [{"blocks": [Block(8), Block(8, pool_size=14), Block(8, norm="group", pool="none")]}],
    ),
    (
        {"form": "unet", "blocks": Block.ladder(8, 16)},
        r"block 2 is a U-Net's bottom and must not pool, got pool='max'; try pool='none'",
        [{"form": "unet", "blocks": [Block(8), Block(16, pool="none")]}],
    ),
    (
        {"form": "unet", "blocks": Block.ladder(8, 16, pool="none")},
        r"block 1 is on a U-Net's way down and must pool, got pool='none'; try pool='max'",
        [],
    ),
    (
        {"form": "unet", "blocks": [Block(8, padding="valid"), Block(16, pool="none")]},
        r"block 1 of a U-Net must keep its size, which goes from 28x28 to 26x26; try stride=1 and padding='same'",
        [],
    ),
    ({"form": "unet", "blocks": [Block(8, pool="none")]}, r"a U-Net needs at least 2 blocks, .* got 1; try", []),
    ({"input_size": 28}, r"input_size must be 3 whole numbers, got 28; try input_size=\(1, 28, 28\)", []),
    ({"input_size": "123"}, r"input_size must be 3 whole numbers, got '123'", []),
    ({"input_size": (28, 28)}, r"input_size must be 3 whole numbers, got \(28, 28\)", []),
    ({"input_size": (0, 28, 28)}, r"input_size\[0\] must be a whole number from 1 to 4096, got 0", []),
    ({"blocks": Block(8)}, r"blocks must be a list of Block, got Block\(8\); try blocks=Block.ladder\(16, 32\)", []),
    ({"blocks": [8]}, r"blocks must be a list of Block, got \[8\]", []),
    ({"blocks": [Block(1)] * (MOST_BLOCKS + 1)}, rf"blocks must be at most {MOST_BLOCKS}, got {MOST_BLOCKS + 1}", []),
    ({"head": "avg"}, r"head must be a Head, got 'avg'; try head=Head\('avg'\)", [{"head": Head("avg")}]),
]


@pytest.mark.parametrize(("asked", "sentence", "works"), REFUSED)
def test_what_does_not_go_together_is_refused_in_a_sentence_that_helps(asked, sentence, works):
    with pytest.raises(SpecError, match=f"^{sentence}") as caught:
        NetSpec(**asked)
    assert str(caught.value).endswith(".")
    for values in works:
        NetSpec(**values)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: Block(8, stride=2),
            r"padding='same' is for stride 1 only in torch, got stride=2; .*'keras_same' or padding=1",
        ),
        (lambda: Block(8, padding="Same"), r"padding must be one of same, valid, keras_same, got 'Same'; try .*'same'"),
        (lambda: Block(8, padding=-1), r"padding must be a whole number from 0 to 63 or one of same, .* got -1"),
        (lambda: Block(8, padding=1.5), "padding must be a whole number"),
        (lambda: Block(8, padding=True), "padding must be a whole number"),
        (lambda: Block(8, bias=1), "bias must be True or False, got 1; try bias=True"),
        (lambda: Block(12, kind="inception"), "must be a multiple of 8, .* got 12; try out_channels=16"),
        (lambda: Block(8, kind="inception", stride=2), "does not stride, got stride=2; try stride=1"),
        (lambda: Block(8, kind="inception", padding=1), "branches of one size, got padding=1; try padding='same'"),
        (lambda: Head(hidden=64), r"hidden must be at most 16 whole numbers, got 64; try hidden=\(64,\)"),
        (lambda: Head(hidden=(0,)), r"hidden\[0\] must be a whole number from 1 to 65536, got 0"),
        (lambda: Head("pixels", hidden=(8,)), r"has no hidden layers, got hidden=\(8,\); try hidden=\(\)"),
        (lambda: Block(8, kernelsize=3), r"Block has no argument 'kernelsize'; did you mean kernel_size\?"),
        (lambda: Head(drop=0.1), r"Head has no argument 'drop'; did you mean dropout\?"),
        (lambda: NetSpec(classes=3), r"NetSpec has no argument 'classes'; did you mean num_classes\?"),
        (lambda: NetSpec().replace(block=()), r"NetSpec has no argument 'block'; did you mean blocks\?"),
        (lambda: NetSpec().everywhere(kernal_size=3), r"did you mean kernel_size\?"),
        (lambda: NetSpec().with_block(3), "number must be from 1 to 2, the blocks, got 3; try number=1"),
        (lambda: NetSpec().with_block(0), "number must be from 1 to 2"),
    ],
)
def test_what_one_part_cannot_be(make, sentence):
    with pytest.raises(SpecError, match=sentence):
        make()


HOSTILE = [
    "", "nonsense", "[]", "null", "3", '"NetSpec"', "{" * 10**5, "[" * 10**5,
    '{"__class__": "os.system"}', '{"input_size": null}', '{"input_size": {"0": 1}}', '{"input_size": [1, 28, 1e999]}',
    '{"input_size": [1, 28, 28, 28]}', '{"input_size": "1,28,28"}', '{"input_size": [1, 1' + "0" * 4000 + ", 28]}",
    '{"num_classes": NaN}', '{"num_classes": true}', '{"num_classes": []}', '{"blocks": {}}', '{"blocks": "conv"}',
    '{"blocks": [[]]}', '{"blocks": [{}]}', '{"blocks": [null]}', '{"blocks": [{"out_channels": 1e9}]}',
    '{"blocks": [{"out_channels": 8, "kernel_size": [3, 3]}]}', '{"blocks": [{"out_channels": 8, "kind": {}}]}',
    '{"blocks": [{"out_channels": 8, "padding": {}}]}', '{"blocks": [{"out_channels": 8, "bias": "no"}]}',
    '{"blocks": [{"out_channels": 8, "__init__": 0}]}', '{"blocks": [' + '{"out_channels": 1},' * 10**4 + "{}]}",
    '{"head": []}', '{"head": {"hidden": [[]]}}', '{"head": {"hidden": "64"}}', '{"head": {"kind": 0}}',
    '{"head": {"hidden": [' + "9," * 10**4 + '9]}}', '{"form": "tree"}', '{"init": null}', '{"": 0}',
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_json_is_refused_in_a_short_sentence(text):
    with pytest.raises(SpecError) as caught:
        NetSpec.from_json(text)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400 or "0" * 300 in text


def test_json_fills_in_defaults():
    assert NetSpec.from_json('{"blocks": [{"out_channels": 8}]}') == NetSpec(blocks=(Block(8),))
    assert json.loads(NetSpec().to_json())["blocks"][1]["out_channels"] == 32


def test_everywhere_and_with_block_change_what_they_name():
    spec = NetSpec(head=Head(hidden=(64,))).everywhere(activation="elu", norm="batch")
    assert {(block.activation, block.norm) for block in spec.blocks} == {("elu", "batch")}
    assert spec.head == Head(hidden=(64,), activation="elu")
    assert spec.with_block(2, kernel_size=5).blocks == (spec.blocks[0], spec.blocks[1].replace(kernel_size=5))


def test_lists_and_numpys_numbers_become_pythons_own():
    spec = NetSpec(np.array([3, 32, 32]), blocks=[Block(np.int64(8), dropout=np.float32(0.5))], head=Head(hidden=[64]))
    assert NetSpec.from_json(spec.to_json()) == spec
    assert (type(spec.input_size), type(spec.blocks[0].out_channels), type(spec.head.hidden)) == (tuple, int, tuple)


def test_a_network_cannot_change():
    for value in (NetSpec(), Block(8), Head()):
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.dropout = 0.5


def test_no_torch_no_numpy():
    program = "import sys, convlab; convlab.NetSpec(); print([m for m in ('torch', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
