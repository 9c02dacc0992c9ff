"""What a sweep tries, as a person writes it, as it is kept, and as it is proposed."""

import json

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlab.data.resolve import resolve
from convlab.net_spec import Block, NetSpec
from convlab.schedule_spec import ScheduleSpec
from convlab.search.recipe import ImpossibleError, Recipe, structured
from convlab.search.space import Choices, Numbers, Space, as_entry
from convlab.spec import SpecError, TrainSpec

numbers = st.integers(1, 10**6) | st.floats(1e-6, 1e6)
ranges = st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1])
entries = ranges | ranges.map(lambda pair: (*pair, "log")) | st.lists(numbers, min_size=1, unique=True)


@given(st.dictionaries(st.text(min_size=1), entries, min_size=1))
@pytest.mark.slow
def test_a_space_comes_back_from_its_json(given_space) -> None:
    try:
        space = Space.of(given_space)
    except SpecError:  # two numbers of a list may be one as text
        return
    assert Space.of(json.loads(json.dumps(space.to_plain()))) == space


@given(st.dictionaries(st.sampled_from("abc"), entries, min_size=1), st.integers(0, 2**31))
def test_what_is_proposed_lies_in_the_space_and_is_told_again(given_space, seed) -> None:
    try:
        space = Space.of(given_space)
    except SpecError:
        return
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    trial = study.ask()
    values = space.suggest(trial)
    for name, entry in space.entries.items():
        if isinstance(entry, Numbers):
            assert entry.low <= values[name] <= entry.high
            assert isinstance(values[name], int) == entry.whole
        else:
            assert values[name] in entry.values
    assert space.values(trial.params) == values


def test_choices_that_are_no_words_are_kept_by_their_text() -> None:
    cosine = ScheduleSpec("CosineAnnealingLR", T_max=10)
    entry = as_entry("schedule", [None, "OneCycleLR", cosine])
    assert isinstance(entry, Choices)
    assert entry.value(repr(cosine)) is cosine
    assert as_entry("schedule", entry.to_plain()) == entry
    assert as_entry("filters", [[8, 16], 4]).labels == ["8-16", 4]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "space must be a dict"),
        ({"lr": (0.1, 0.01)}, r"lr's range must rise, got \(0.1, 0.01\); try lr="),
        ({"lr": (0, 0.1, "log")}, "rise, from above 0"),
        ({"lr": (0.1, 0.2, "linear")}, "may end with 'log' only"),
        ({"lr": 0.1}, r"try lr=\[0.1\]"),
        ({"optimizer": ("sgd", "adam")}, r"try optimizer=\['sgd', 'adam'\]"),
        ({"optimizer": ["sgd", "sgd"]}, "different values"),
        ({"optimizer": [object()]}, "words and numbers"),
        ({"optimizer": ["sdg"]}, "try optimizer='sgd'"),
        ({"learning_rate": (0.1, 0.2)}, "has no argument 'learning_rate'"),
        ({"seed": [1, 2]}, "has no argument 'seed'"),
        ({"lr": (0.1, 2000.0)}, "lr must be a number above 0"),
        ({"kernel_size": [3, 64]}, "kernel_size must be a whole number from 1 to 63"),
        ({"filters": [0, 8]}, "out_channels must be"),
        ({"depth": [0.5]}, "depth must be a whole number of blocks"),
        ({"init": ["he"]}, "init must be one of"),
        ({"schedule": ["Cosine"]}, "CosineAnnealing"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_trial(space, message) -> None:
    with pytest.raises(SpecError, match=message):
        Recipe("single_conv", resolve("digits"), TrainSpec(), Space.of(space))


def test_a_grid_has_every_combination_once() -> None:
    space = Space.of({"optimizer": ["sgd", "adam"], "batch_size": (16, 18), "schedule": [None, "StepLR"]})
    found = [tuple(one.values()) for one in space.combinations()]
    assert len(found) == len(set(found)) == 12
    with pytest.raises(SpecError, match=r"grid takes a few values of lr"):
        Space.of({"lr": (0.1, 0.2)}).combinations()
    with pytest.raises(SpecError, match="250,000 combinations"):
        Space.of({"batch_size": (1, 500), "epochs": (1, 500)}).combinations()


SPEC = NetSpec((1, 16, 16), blocks=Block.ladder(8, 16))


@pytest.mark.parametrize(
    ("values", "channels"),
    [
        ({"filters": 4}, [4, 8]),
        ({"filters": 3, "depth": 3}, [3, 6, 6]),
        ({"depth": 1}, [8]),
        ({"filters": (5, 6, 7)}, [5, 6, 7]),
        ({"filters": (5,)}, [5]),
    ],
)
def test_filters_and_depth(values, channels) -> None:
    assert [block.out_channels for block in structured(SPEC, values).blocks] == channels


def test_the_structure_of_a_trial_reaches_every_block() -> None:
    net = structured(SPEC, {"kernel_size": 5, "activation": "elu", "dropout": 0.2, "init": "orthogonal"})
    assert net == SPEC.everywhere(kernel_size=5, activation="elu", dropout=0.2).replace(init="orthogonal")


def _recipe(model="single_conv", spec=None, **space) -> Recipe:
    return Recipe(model, resolve("digits"), spec or TrainSpec(epochs=4), Space.of(space))


def test_the_settings_of_a_trial() -> None:
    recipe = _recipe(lr=(0.01, 0.1), schedule=[None, "CosineAnnealingLR"], batch_size=(16, 64))
    spec = recipe.train_spec({"lr": 0.02, "schedule": "CosineAnnealingLR", "batch_size": 64})
    steps = 4 * -(-1437 // 64)
    assert spec == TrainSpec(
        epochs=4, lr=0.02, batch_size=64, schedule=ScheduleSpec("CosineAnnealingLR", T_max=steps, cadence="step")
    )


def test_a_schedule_of_the_recipe_follows_the_lr_and_the_length() -> None:
    schedule = ScheduleSpec("OneCycleLR", max_lr=0.1, total_steps=180)
    recipe = _recipe(spec=TrainSpec(epochs=4, lr=0.1, schedule=schedule), lr=(0.01, 0.1), batch_size=(16, 64))
    spec = recipe.train_spec({"lr": 0.05, "batch_size": 64})
    assert spec.schedule == ScheduleSpec("OneCycleLR", max_lr=0.05, total_steps=4 * -(-1437 // 64))


def test_a_network_that_cannot_be_is_impossible_and_not_an_error() -> None:
    recipe = _recipe(kernel_size=[3, 11], padding=["valid"], depth=(1, 5))
    with pytest.raises(ImpossibleError, match="does not hold kernel_size=11"):
        recipe.build({"kernel_size": 11, "padding": "valid", "depth": 1}, 0)
    with pytest.raises(ImpossibleError, match="block"):
        recipe.build({"kernel_size": 3, "padding": "valid", "depth": 5}, 0)
    recipe.build({"kernel_size": 3, "padding": "valid", "depth": 1}, 0)


def test_the_pictures_must_be_those_of_the_network() -> None:
    with pytest.raises(SpecError, match=r"model takes pictures of \(1, 16, 16\)"):
        _recipe(SPEC, lr=[0.1])
