"""What people hand over: what is read, what is said about it, and what is refused with a line that works."""

import random
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split

from convlab.data import Data, digits, resolve
from convlab.data.arrays import as_pictures, as_targets
from convlab.data.sources import DatasetSource, LoaderSource, TensorSource

RNG = np.random.default_rng(0)
X = RNG.random((60, 3, 8, 10), dtype=np.float32)
y = np.arange(60) % 4


class Items(Dataset):
    """Pictures and labels one by one; ``read`` counts the pictures that were looked at."""

    def __init__(self, x, y, **attributes) -> None:
        self.x, self.y, self.read = x, y, 0
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int):
        self.read += 1
        return self.x[i], self.y[i]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(TensorDataset(tensors[0], tensors[1]))


tensors = torch.from_numpy(X), torch.from_numpy(y)


def values(data: Data) -> Tensor:
    """All pictures of a Data in memory, in the order of their first pixel."""
    x = torch.cat([data.train.x, data.valid.x])
    return x[x[:, 0, 0, 0].argsort()]


def test_the_digits_are_those_of_scikit_learn():
    pictures, labels = load_digits(return_X_y=True)
    wanted = sorted((*picture, label) for picture, label in zip(pictures / 16, labels, strict=True))
    for seed in (0, 1):
        data = digits(seed=seed)
        x, y = torch.cat([data.train.x, data.valid.x]).flatten(1), torch.cat([data.train.y, data.valid.y])
        assert sorted((*picture, label) for picture, label in zip(x.tolist(), y.tolist(), strict=True)) == wanted
        data.train.x.zero_()  # what is read once is nobody's to change
        data.train.y.zero_()


def test_digits():
    data = digits()
    assert (data.name, data.input_size, data.num_classes) == ("digits", (1, 8, 8), 10)
    assert data.classes == tuple("0123456789")
    assert data.split == "1,437 samples train and 360 validate, stratified by class, seed 0."
    assert (data.train.x.min(), data.train.x.max(), data.train.x.dtype) == (0, 1, torch.float32)
    assert (data.train.y.dtype, data.train.num_samples, data.valid.num_samples) == (torch.int64, 1437, 360)
    shares = data.train.y.bincount() / 1437 - data.valid.y.bincount() / 360
    assert shares.abs().max() < 0.003
    assert len(data.fingerprint) == 64
    assert repr(data).startswith("digits: 1x8x8, 10 classes. 1,437 samples")


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    one, again, other = resolve("digits"), resolve("digits", seed=0), resolve("digits", seed=1)
    assert torch.equal(one.train.x, again.train.x)
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert not torch.equal(one.train.y, other.train.y)


def test_data_comes_back_as_it_is():
    data = digits()
    assert resolve(data, valid_fraction=0.5, seed=3) is data


@pytest.mark.parametrize(
    "given",
    [
        (X, y),
        [X, y],
        (X.astype("float64"), y.astype("uint8")),
        (X[::-1], y[::-1]),
        (torch.from_numpy(X), torch.from_numpy(y)),
        (torch.from_numpy(X).double().requires_grad_(), torch.from_numpy(y).int()),
        (X.tolist(), y.tolist()),
        (list(X), list(y)),
        (list(torch.from_numpy(X)), list(torch.from_numpy(y))),
        (X, pd.Series(y)),
        (X, pd.DataFrame({"label": y})),
        (X, y[:, None]),
        (np.ascontiguousarray(X.transpose(0, 2, 3, 1)), y),
        (torch.from_numpy(X).permute(0, 2, 3, 1), torch.from_numpy(y)),
    ],
    ids=lambda given: f"{type(given[0]).__name__}-{type(given[1]).__name__}",
)
def test_arrays_of_any_kind_are_the_same_data(given):
    data = resolve(given)
    assert isinstance(data.train, TensorSource)
    assert data.input_size == (3, 8, 10)
    assert data.classes == ("0", "1", "2", "3")
    assert data.split == "48 samples train and 12 validate, stratified by class, seed 0."
    assert torch.equal(data.valid.y.bincount(), torch.full((4,), 3))
    np.testing.assert_array_equal(values(data).numpy(), X[X[:, 0, 0, 0].argsort()])


def test_pictures_and_targets_stay_together():
    marked = X.copy()
    marked[:, 0, 0, 0] = y
    data = resolve((marked, y))
    for source in (data.train, data.valid):
        assert torch.equal(source.x[:, 0, 0, 0].long(), source.y)


def test_read_only_memory_is_copied_without_a_warning(recwarn):
    frozen = X.copy()
    frozen.flags.writeable = False
    resolve((frozen, y))
    assert not recwarn.list


@pytest.mark.parametrize(
    ("given", "note", "lowest", "highest"),
    [
        (np.full((2, 3, 8, 10), 255, np.uint8), "X holds uint8 pixels, which were divided by 255.", 1, 1),
        (torch.full((2, 3, 8, 10), 51, dtype=torch.uint8), "X holds uint8 pixels", 0.2, 0.2),
        (np.eye(8)[None].repeat(2, 0) > 0, "X holds grey pictures (2, 8, 8), which got one channel.", 0, 1),
        (np.ones((2, 8, 10, 3)), "X has its channels last, (2, 8, 10, 3), and was turned to (N, C, H, W).", 1, 1),
        (np.ones((2, 1, 8, 8)) * 255.0, "X ranges from 255 to 255 and is used as it is", 255, 255),
    ],
)  # fmt: skip
def test_a_conversion_is_said(given, note, lowest, highest):
    x, notes = as_pictures(given)
    assert any(said.startswith(note) and said.endswith(".") for said in notes)
    assert x.dtype == torch.float32
    assert x.dim() == 4
    assert x.min().item() == pytest.approx(lowest)
    assert x.max().item() == pytest.approx(highest)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 8, 8), "NCHW"),
        ((3, 32, 32), "NCHW"),
        ((3, 48, 64), "NCHW"),
        ((16, 8, 8), "NCHW"),
        ((16, 8, 12), "NCHW"),
        ((1, 4, 4), "NCHW"),
        ((64, 1, 1), None),
        ((8, 8, 1), "NHWC"),
        ((32, 32, 3), "NHWC"),
        ((48, 64, 4), "NHWC"),
        ((4, 4, 3), "NHWC"),
        ((3, 3, 3), None),
        ((3, 8, 4), None),
        ((64, 3, 3), None),
        ((8, 8, 16), None),
        ((3, 3, 16), None),
    ],
)
def test_channels_are_found_or_asked_for(shape, layout):
    given = np.arange(2 * np.prod(shape), dtype=np.float32).reshape(2, *shape) / 1000
    if layout is None:
        with pytest.raises(ValueError, match=r"which may be \(N, C, H, W\) or \(N, H, W, C\)") as refusal:
            as_pictures(given)
        assert "X.transpose(0, 3, 1, 2)" in str(refusal.value)
        with pytest.raises(ValueError, match=r"X\.permute\(0, 3, 1, 2\)"):
            as_pictures(torch.from_numpy(given))
        # The other way out, in the message's words.
        whole = TensorDataset(torch.from_numpy(given), torch.tensor([0, 1]))
        assert resolve(whole, valid_fraction=0).input_size == shape
    else:
        expected = given if layout == "NCHW" else given.transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(as_pictures(given)[0].numpy(), expected)


def with_nan(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a[3, 0, 0, 0], a[7, 1, 2, 3] = np.nan, np.inf
    return a


REFUSED_PICTURES = [
    (X[:, 0, 0, :], "X has shape (60, 10), and pictures have (N, C, H, W), (N, H, W) or (N, H, W, C)"),
    (np.zeros((5, 784)), "pass X.reshape(-1, 1, 28, 28)"),
    (pd.DataFrame(np.zeros((5, 784))), "pass X.to_numpy().reshape(-1, 1, 28, 28)"),
    (torch.zeros(5, 3072), "pass X.reshape(-1, 3, 32, 32)"),
    (np.zeros((5, 2, 3, 4, 5)), "X has shape (5, 2, 3, 4, 5)"),
    (np.zeros((0, 3, 8, 8)), "X has shape (0, 3, 8, 8), which holds no pictures"),
    (np.float32(1), "X has shape (), which holds no pictures"),
    ((X * 16).astype(int), 'how far pixels go; pass X.astype("float32") / 16.'),
    ((tensors[0] * 255).int(), "(int32) from 0 to 254, and only uint8 tells by its type how far pixels go"),
    (with_nan(X), "X holds NaN or infinity in 2 of 60 samples, first in sample 3; drop them with keep = np.isf"),
    (torch.from_numpy(with_nan(X)), "keep = X.isfinite().flatten(1).all(dim=1) and pass (X[keep], y[keep])"),
    (np.array([[X[0]], [None]], dtype=object), "X holds Python objects, and pictures are numbers of one size"),
    ([X[0], X[1][:, :4]], "X is a list whose items differ in size"),
    ([tensors[0][0], tensors[0][1][:, :4]], "X is a list whose items differ in size"),
    (X.astype(complex), "X holds complex numbers"),
    (tensors[0].to(torch.complex64), "X holds complex numbers"),
    (np.full((3, 4, 8, 8), "a"), "X holds text"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), REFUSED_PICTURES, ids=[m[:40] for _, m in REFUSED_PICTURES])
def test_pictures_that_are_refused(given, message):
    with pytest.raises(ValueError, match=r"^data: X ") as refusal:
        as_pictures(given)
    assert message in str(refusal.value)
    assert str(refusal.value).endswith(".")
    assert "\n" not in str(refusal.value)


REFUSED_TARGETS = [
    (y + 1, "y has labels from 1 to 4, and labels start at 0; pass y - 1."),
    (y - 1, "y holds the label -1, 15 of 60 labels are negative"),
    (y * 2, "y has 4 different labels up to 6, with no 1; pass np.unique(y, return_inverse=True)[1] to"),
    (torch.from_numpy(y * 2), "pass torch.unique(y, return_inverse=True)[1]"),
    (y * 0, "y holds one class only, 0"),
    (np.eye(4)[y], "with a single 1 in each row, which is one-hot; pass the labels, y.argmax(axis=1)."),
    (torch.eye(4, dtype=torch.int64)[tensors[1]], "pass the labels, y.argmax(dim=1)."),
    (y.astype(float), 'pass y.astype("int64") for classes, or y.astype("float32")[:, None] for regression.'),
    (tensors[1].float(), "pass y.long() for classes, or y.float()[:, None] for regression."),
    (np.where(y == 0, np.nan, 0.5), "y holds 15 NaN or infinite values"),
    (np.tile(y[:, None, None], (1, 8, 8)), "y has shape (60, 8, 8) and type int64, and convlab takes one label"),
    (np.array([None, 1, "a"], dtype=object), "y holds Python objects"),
    (np.int64(3), "y has shape (); pass one target for each sample"),
    (np.array([], dtype=int), "y has shape (0,), which holds no targets"),
    ([[1], [2, 3]], "y is a list whose items differ in size"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), REFUSED_TARGETS, ids=[m[:40] for _, m in REFUSED_TARGETS])
def test_targets_that_are_refused(given, message):
    with pytest.raises(ValueError, match=r"^data: y ") as refusal:
        as_targets([given], ["y"])
    assert message in str(refusal.value)
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize(
    "fixed",
    [
        lambda: (X, (y + 1) - 1),
        lambda: (X, np.unique(y * 2, return_inverse=True)[1]),
        lambda: (X, np.eye(4)[y].argmax(axis=1)),
        lambda: (torch.from_numpy(X), torch.eye(4)[tensors[1]].argmax(dim=1)),
        lambda: (X, y.astype(float).astype("int64")),
        lambda: ((X * 255).astype(int).astype("float32") / 255, y),
        lambda: (X.reshape(60, -1).reshape(-1, 3, 8, 10), y),
    ],
)
def test_the_line_in_a_refusal_works(fixed):
    assert resolve(fixed()).num_classes == 4


def test_keeping_the_finite_samples_as_the_message_says():
    broken = with_nan(X)
    keep = np.isfinite(broken).reshape(len(broken), -1).all(axis=1)
    assert resolve((broken[keep], y[keep])).train.num_samples == 46


@pytest.mark.parametrize(
    ("given", "classes", "labels"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        (np.array(["b", "a", "c"]), ("a", "b", "c"), [1, 0, 2]),
        (pd.Series(["b", "a", "c"], dtype="category"), ("a", "b", "c"), [1, 0, 2]),
        (pd.Series(["b", "a", "c"]), ("a", "b", "c"), [1, 0, 2]),
        (np.array([True, False]), ("False", "True"), [1, 0]),
        (torch.tensor([True, False]), ("False", "True"), [1, 0]),
    ],
)
def test_named_classes_are_sorted(given, classes, labels):
    targets = as_targets([given], ["y"])
    assert targets.classes == classes
    assert targets.parts[0].tolist() == labels


def test_numbers_are_regression_in_a_column():
    data = resolve((X, RNG.random(60)))
    assert (data.num_classes, data.classes) == (None, ())
    assert data.train.y.shape == (48, 1)
    assert data.train.y.dtype == torch.float32
    assert data.split == "48 samples train and 12 validate, drawn at random, seed 0."
    assert resolve((X, RNG.random((60, 2)))).train.y.shape == (48, 2)
    assert resolve((X, y.astype("float32")[:, None])).num_classes is None


def test_arrays_already_split():
    data = resolve(((X[:40], y[:40]), (X[40:], y[40:])))
    assert data.split == "40 samples train and 20 validate, as handed over."
    assert torch.equal(data.train.x, torch.from_numpy(X[:40]))
    # Text is numbered over both, also where one lacks a class.
    named = resolve(([X[:2], ["b", "c"]], [X[2:4], ["a", "c"]]))
    assert named.classes == ("a", "b", "c")
    assert (named.train.y.tolist(), named.valid.y.tolist()) == ([1, 2], [0, 2])
    with pytest.raises(ValueError, match=r"X_train have size \(3, 8, 10\) and those of X_valid \(3, 8, 9\)"):
        resolve(((X[:40], y[:40]), (X[40:, :, :, :9], y[40:])))
    with pytest.raises(ValueError, match="X_valid has 20 samples and y_valid has 19"):
        resolve(((X[:40], y[:40]), (X[40:], y[41:])))


@pytest.mark.parametrize(
    ("given", "arguments", "message"),
    [
        ((X, y[:50]), {}, r"X has 60 samples and y has 50; pass as many .* for example X\[:50\] and y\[:50\]\."),
        ((X[:5], [0, 0, 1, 1, 2]), {}, r"Class 2 of data has one sample"),
        ((X[:8], y[:8]), {}, "8 samples into 6 and 2, and each side needs at least 4, .* from 0.5 to 0.5"),
        ((X[:4], [0, 0, 1, 1]), {"valid_fraction": 0.9}, "pass a fraction from 0.5 to 0.5"),
        ((X, y), {"valid_fraction": 1}, "valid_fraction=1 must be at least 0 and less than 1"),
        ((X, y), {"valid_fraction": -0.1}, "valid_fraction=-0.1 must be"),
        ("mnist", {}, "data='mnist' is no built-in"),
        ("shapes:1", {}, "data='shapes:1' is no built-in"),
        ("shapes:", {}, "data='shapes:' is no built-in"),
    ],
)  # fmt: skip
def test_whole_data_that_are_refused(given, arguments, message):
    with pytest.raises(ValueError, match=message):
        resolve(given, **arguments)


def test_the_fraction_in_a_refusal_works():
    assert resolve((X[:8], y[:8]), valid_fraction=0.5).valid.num_samples == 4


def test_no_validation_on_request():
    data = resolve((X, y), valid_fraction=0)
    assert data.valid is None
    assert data.split == "60 samples train and none validate, because valid_fraction is 0."


@pytest.mark.parametrize(
    "given", [None, 3, X, tensors[0], {"train": X}, (X,), (X, y, y), (X, None), (X, "y"), Stream()]
)
def test_something_else_is_a_type_error_with_examples(given):
    with pytest.raises(TypeError, match=r"^data(:| is) .*(\(X, y\)|DataLoader)") as refusal:
        resolve(given)
    assert str(refusal.value).endswith(".")


def test_data_sets():
    x, labels = tensors
    data = resolve((TensorDataset(x[:40], labels[:40]), Items(x[40:], labels[40:])))
    assert isinstance(data.train, TensorSource)
    assert isinstance(data.valid, DatasetSource)
    assert (data.name, data.input_size, data.num_classes) == ("TensorDataset", (3, 8, 10), 4)
    assert data.split == "40 samples train and 20 validate, as handed over."


def test_parts_of_a_tensor_data_set_are_held_in_memory():
    train, valid = random_split(TensorDataset(*tensors), [40, 20], torch.Generator().manual_seed(0))
    data = resolve((train, valid))
    assert isinstance(data.valid, TensorSource)
    assert torch.equal(data.valid.x, torch.stack([x for x, _ in valid]))


def test_one_data_set_is_split_by_class():
    for given in (TensorDataset(*tensors), Items(*tensors)):
        data = resolve(given)
        assert data.split == "48 samples train and 12 validate, stratified by class, seed 0."
        batches = list(data.valid.batches(None, 0, 12, torch.device("cpu"), torch.contiguous_format))
        assert torch.equal(batches[0][1].bincount(), torch.full((4,), 3))


def test_classes_are_read_from_the_data_set_and_pictures_left_alone():
    dataset = Items(*tensors, targets=y.tolist(), classes=["a", "b", "c", "d", "e"])
    data = resolve((Subset(dataset, range(40)), None))
    assert data.classes == ("a", "b", "c", "d", "e")
    assert data.notes == ("No sample was seen of 1 of 5 classes, first 'e'.",)
    assert dataset.read == 32


def test_a_list_of_targets_that_is_not_what_the_data_set_gives_is_not_believed():
    dataset = Items(tensors[0], tensors[1], targets=(y + 1).tolist())
    assert resolve((dataset, None)).num_classes == 4


def test_labels_of_joined_data_sets():
    x, labels = tensors
    joined = ConcatDataset([TensorDataset(x[:30], labels[:30]), TensorDataset(x[30:], labels[30:])])
    assert resolve(joined).num_classes == 4


def test_loaders():
    loaders = [DataLoader(TensorDataset(*tensors), 16, shuffle=True), DataLoader(Items(*tensors), 20)]
    data = resolve(tuple(loaders))
    assert isinstance(data.train, LoaderSource)
    assert data.train.loader is loaders[0]
    assert (data.train.batch_size, data.valid.batch_size, data.num_classes) == (16, 20, 4)
    assert data.split == "60 samples train and 60 validate, as handed over."
    single = resolve(loaders[0])
    assert single.valid is None
    assert single.split.startswith("60 samples train and none validate, as handed over; pass (train, valid)")


def test_data_in_memory_never_touch_the_generators_that_a_run_may_draw_from(monkeypatch):
    def touched(*_):
        raise AssertionError("the global generator was touched")

    monkeypatch.setattr(torch, "set_rng_state", touched)
    for given in ("digits", (X, y), (TensorDataset(*tensors), TensorDataset(*tensors))):
        assert len(resolve(given).pictures(3)) == 3


def test_loaders_that_cannot_be_indexed():
    stream = resolve(DataLoader(Stream(), 16))
    assert (stream.train.num_samples, stream.num_classes, stream.input_size) == (-1, 4, (3, 8, 10))
    assert stream.split.startswith("An unknown number of samples train")
    batches = Items([tensors[0][:9], tensors[0][9:]], [tensors[1][:9], tensors[1][9:]])
    assert resolve(DataLoader(batches, batch_size=None)).num_classes == 4


def test_looking_at_samples_leaves_every_generator_where_it_was():
    class Augmented(Items):
        def __getitem__(self, i: int):
            noise = random.random() + np.random.random() + torch.rand(())
            return self.x[i] + noise, self.y[i]

    own = torch.Generator().manual_seed(8)
    for given in (
        Augmented(*tensors),
        DataLoader(Augmented(*tensors), 16, shuffle=True, generator=own),
        DataLoader(Stream(), 16, generator=own),
    ):
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state(), own.get_state()
        looks = [resolve(given) for _ in range(2)]
        assert looks[0].fingerprint == looks[1].fingerprint
        assert torch.equal(looks[0].pictures(5), looks[1].pictures(5))
        assert looks[0].pictures(5).shape == (5, 3, 8, 10)
        assert random.getstate() == before[0]
        assert np.random.get_state()[1].tolist() == before[1]
        assert torch.equal(torch.get_rng_state(), before[2])
        assert torch.equal(own.get_state(), before[3])


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (
            tensors[0].double(),
            tensors[1],
            r"type torch.float64, and weights are float32; return x.float\(\)",
        ),
        ((tensors[0] * 255).byte(), tensors[1], r"pictures of type torch.uint8; return x.float\(\) / 255"),
        (tensors[0].flatten(1), tensors[1], r"samples of shape \(240,\), and pictures have \(C, H, W\)"),
        (tensors[0] / 0, tensors[1], "NaN or infinity among its first samples"),
        (tensors[0], tensors[1].float(), r"return int\(y\) for classes"),
        (tensors[0], torch.eye(4, dtype=torch.int64)[tensors[1]], r"y.argmax\(\) for a one-hot row"),
        (tensors[0], tensors[1] - 1, r"holds the label -1"),
        (tensors[0][:0], tensors[1][:0], "with no samples"),
    ],
)
@pytest.mark.parametrize("wrap", [TensorDataset, Items, lambda *a: DataLoader(Items(*a), 16)])
def test_samples_that_no_network_could_take(wrap, x, labels, message):
    with pytest.raises(ValueError, match=message):
        resolve((wrap(x, labels), None))


def test_labels_beyond_the_classes():
    with pytest.raises(ValueError, match="has 2 classes and the label 3, and labels run from 0 to 1"):
        resolve((Items(*tensors, classes=["a", "b"]), None))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (TensorDataset(tensors[0]), r"gives a (list|tuple) of 1, and training needs pairs"),
        (Items(list("abc"), [0, 1, 2]), "gives a pair of a (list|tuple) of 3 and a Tensor, and training needs"),
        (Items([tensors[0][0], tensors[0][0][:, :4]], [0, 1]), "do not stack .*; return tensors of one size"),
        (Items([object(), object()], [0, 1]), "do not stack into a batch .*ToTensor"),
    ],
)  # fmt: skip
def test_samples_that_are_no_pair_of_tensors(dataset, message):
    with pytest.raises(TypeError, match=message):
        resolve((dataset, None))


def test_importing_loads_no_scikit_learn():
    code = """if True:
        import sys, convlab.data
        convlab.data.resolve("shapes")
        assert not [name for name in sys.modules if name.startswith("sklearn")]
    """
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
