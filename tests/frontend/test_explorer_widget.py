"""The explorer from Python: traits, facts, refusals and the page it writes."""

import json
import random
import re

import pytest
from traitlets import TraitError

from convlab.frontend.conv_settings import CHANNELS, SIZES, ConvSettings
from convlab.frontend.explorer import ConvExplorer


def test_facts_of_a_layer():
    explorer = ConvExplorer(input_size=8, kernel_size=3, stride=2, padding=1, in_channels=2, out_channels=4, groups=2)
    assert explorer.output_size == 4
    assert explorer.num_params == 4 * 1 * 9 + 4
    assert explorer.mult_adds == 36 * 16
    field = explorer.receptive_field
    assert (field.size, field.jump, field.start) == ((3, 3), (2, 2), (0.5, 0.5))
    assert "nn.Conv2d(2, 4, kernel_size=3, stride=2, padding=1, groups=2)" in explorer.code()
    assert explorer.code("keras").startswith("import keras")


def test_facts_of_a_transposed_line():
    explorer = ConvExplorer(dims=1, input_size=5, kernel_size=4, stride=2, padding=1, transposed=True)
    assert explorer.output_size == 10
    assert explorer.mult_adds == 4 * 5
    assert explorer.receptive_field.size == (2,)


def test_facts_follow_the_traits():
    explorer = ConvExplorer()
    explorer.kernel_size = 5
    assert explorer.output_size == 4
    explorer.dilation = 1
    explorer.padding = "same"
    assert explorer.output_size == 8


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"kernel_size": 7},
            "kernel_size=7 is not possible here: a kernel of 6 would span 6 px and the input with its padding has "
            "5 px; try kernel_size=5.",
        ),
        ({"kernel_size": "3"}, "kernel_size must be a whole number, got '3'; try kernel_size=1."),
        ({"stride": True}, "stride must be a whole number, got True; try stride=1."),
        ({"stride": 0}, "stride=0 is not possible here: the explorer draws stride from 1 to 6 in 2-D; try stride=1."),
        (
            {"groups": 2},
            "groups=2 is not possible here: groups must divide in_channels (1) and out_channels (1); try groups=1.",
        ),
        (
            {"padding": "full"},
            'padding must be a whole number, "same" or "valid", got \'full\'; try padding=1.',
        ),
        ({"dims": 3}, "dims must be 1 or 2, got 3; try dims=2."),
        ({"transposed": "yes"}, "transposed must be True or False, got 'yes'; try transposed=True."),
        (
            {"input_size": 17},
            "input_size=17 is not possible here: the explorer draws input_size from 1 to 16 in 2-D; try input_size=16.",
        ),
    ],
)
def test_a_bad_value_is_refused_when_set_and_when_passed(change, sentence):
    explorer = ConvExplorer(input_size=5)
    ((name, value),) = change.items()
    with pytest.raises(TraitError) as refusal:
        setattr(explorer, name, value)
    assert str(refusal.value) == sentence
    assert explorer.settings == ConvSettings(input_size=5)
    with pytest.raises(TraitError) as refusal:
        ConvExplorer(**{"input_size": 5, **change})
    assert str(refusal.value) == sentence


def test_same_with_a_stride_names_what_comes_nearest():
    explorer = ConvExplorer(input_size=7, stride=2)
    sentence = r"padding='same' .*no padding='same' with a stride above 1; .*padding=1 .* gives 4 px; try padding=1\."
    with pytest.raises(TraitError, match=sentence):
        explorer.padding = "same"
    explorer.padding = 1
    assert explorer.output_size == 4


def test_a_switch_names_what_stands_in_its_way():
    explorer = ConvExplorer(padding="same")
    with pytest.raises(TraitError, match=r"transposed=True does not go with padding='same': .*; set padding=1 first\."):
        explorer.transposed = True
    explorer.padding = 1
    explorer.transposed = True
    assert explorer.output_size == 8


def test_several_settings_at_once():
    explorer = ConvExplorer(input_size=4)
    with explorer.hold_trait_notifications():
        explorer.kernel_size = 7
        explorer.padding = 3
    assert explorer.output_size == 4

    def half_impossible():
        with explorer.hold_trait_notifications():
            explorer.padding = 0
            explorer.stride = 2

    with pytest.raises(TraitError, match="padding=0 is not possible"):
        half_impossible()
    assert (explorer.padding, explorer.stride) == (3, 1)


def test_an_unknown_argument_is_an_error():
    with pytest.raises(TypeError, match="kernel"):
        ConvExplorer(kernel=3)


def test_numpys_integers_become_pythons():
    numpy = pytest.importorskip("numpy")
    explorer = ConvExplorer(kernel_size=numpy.int64(5))
    explorer.stride = numpy.int32(2)
    assert json.dumps(explorer.get_state(["kernel_size", "stride"])) == '{"kernel_size": 5, "stride": 2}'


def test_every_value_that_a_refusal_proposes_works():
    draw = random.Random(0)
    refusals = 0
    explorer = ConvExplorer()
    for _ in range(4000):
        name = draw.choice([*SIZES, *CHANNELS, "dims", "transposed"])
        value = {"dims": draw.choice([1, 2]), "transposed": draw.random() < 0.5}.get(name, draw.randint(-1, 18))
        if name == "padding" and draw.random() < 0.4:
            value = draw.choice(["same", "valid"])
        try:
            setattr(explorer, name, value)
        except TraitError as refusal:
            refusals += 1
            if name not in ("dims", "transposed"):
                (proposed,) = re.findall(rf"; try {name}=('?\w+'?)\.$", str(refusal))
                setattr(explorer, name, proposed.strip("'") if "'" in proposed else int(proposed))
        assert explorer.output_size >= 1
    assert refusals > 500


def test_repr_says_all_settings():
    assert repr(ConvExplorer(stride=2)) == (
        "ConvExplorer(dims=2, input_size=8, kernel_size=3, stride=2, padding=0, dilation=1, groups=1, in_channels=1, "
        "out_channels=1, transposed=False)"
    )


def test_the_page_holds_everything(tmp_path):
    explorer = ConvExplorer(input_size=6, padding="same", out_channels=2)
    path = explorer.to_html(tmp_path / "explorer.html")
    page = path.read_text(encoding="utf-8")
    state = re.search(r'<script type="application/json" id="convlab-state">(.*?)</script>', page)[1]
    assert json.loads(state) == vars(explorer.settings)
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    # Nothing is fetched: the name of SVG's namespace is the only address.
    assert set(re.findall(r"https?://[^\s\"'`)]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<link|<img|@import|url\(|\bsrc=", page)
