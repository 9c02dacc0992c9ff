"""What goes wrong in a run ends the run, says so, and leaves the model as it was before the step."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from textbook import Regularised, made, same, some_digits, state_of
from torch import nn
from torch.utils.data import DataLoader, Dataset

from convlab.data import resolve
from convlab.models.gallery import lenet
from convlab.spec import SpecError, TrainSpec
from convlab.training.fit import fit
from convlab.training.run import Run
from convlab.training.trainer import NonFiniteError

pytestmark = pytest.mark.timeout(150)

SPEC = TrainSpec(epochs=3, batch_size=20, lr=0.01)


class Trouble(Regularised):
    """Does something else in the forward pass of one training step, counted from 1."""

    def __init__(self, step, act):
        super().__init__()
        self.when, self.act, self.count = step, act, 0
        self.register_buffer("average", torch.zeros(10))

    def forward(self, x):
        out = super().forward(x)
        if self.training:
            # A buffer that is replaced, not written into, as many people do.
            self.average = 0.9 * self.average + 0.1 * out.detach().mean(0)
            self.count += 1
            if self.count == self.when:
                return self.act(out)
        return out


class OwnError(Exception):
    pass


def raises(out):
    raise OwnError("<b>broken</b> on purpose")


def reference(steps, build=lambda: Trouble(0, None)):
    """The state after so many good steps."""
    run = Run(made(build), some_digits(), SPEC)
    if steps:
        run.step(steps)
    state = state_of(run.model)
    run.stop()
    return state, run.history.train_loss.tolist()


def failed(model, data=None, **more):
    run = Run(model, data or some_digits(), SPEC, **more)
    return run.start().wait()


@settings(max_examples=8, deadline=None)
@given(step=st.integers(1, 30))
def test_exception_in_forward(step):
    torch.set_num_threads(1)
    run = failed(made(lambda: Trouble(step, raises)))
    assert run.state == "failed"
    assert isinstance(run.error, OwnError)
    assert "raise OwnError" in run.traceback
    state, losses = reference(step - 1)
    assert run.history.train_loss.tolist() == losses
    assert run.history.num_epochs == (step - 1) // 10
    assert same(state_of(run.model), state)
    assert all(param.grad is None for param in run.model.parameters())
    assert fit(run.model, some_digits(), SPEC.replace(epochs=1)).state == "finished"


@pytest.mark.parametrize("error", [OwnError, KeyboardInterrupt, SystemExit, StopIteration, GeneratorExit])
def test_whatever_is_raised_ends_the_run(error):
    def act(out):
        raise error

    run = failed(made(lambda: Trouble(3, act)))
    assert (run.state, type(run.error), run.history.num_steps) == ("failed", error, 2)


def test_exception_in_backward():
    class Breaks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise OwnError

    run = failed(made(lambda: Trouble(4, Breaks.apply)))
    state, losses = reference(3)
    assert isinstance(run.error, OwnError)
    assert run.history.train_loss.tolist() == losses
    assert same(state_of(run.model), state)


@pytest.mark.parametrize("when", ["train", "valid"])
def test_exception_in_the_data_set(when):
    class Breaks(Dataset):
        broken = False

        def __init__(self, source):
            self.source = source

        def __len__(self):
            return len(self.source.x)

        def __getitem__(self, index):
            if self.broken and index == 37:
                raise OwnError("sample 37")
            return self.source.x[index], self.source.y[index]

    good = some_digits()
    train, valid = Breaks(good.train), Breaks(good.valid)
    data = resolve((train, valid))
    (train if when == "train" else valid).broken = True
    run = failed(made(Regularised), data)
    assert isinstance(run.error, OwnError)
    assert "sample 37" in run.traceback
    steps = run.history.num_steps
    assert steps == 10 if when == "valid" else steps < 10
    state, losses = reference(steps, Regularised)
    assert run.history.train_loss.tolist() == losses
    assert same(state_of(run.model), state)
    assert run.model.training


def test_exception_in_a_loader_with_its_own_collation():
    good = some_digits()

    def collate(samples):
        if calls.append(1) or len(calls) == 5:
            raise OwnError
        return torch.utils.data.default_collate(samples)

    calls = []
    dataset = torch.utils.data.TensorDataset(good.train.x, good.train.y)
    data = resolve(DataLoader(dataset, batch_size=20, collate_fn=collate))
    calls.clear()
    run = failed(made(Regularised), data)
    assert (run.state, type(run.error), run.history.num_steps) == ("failed", OwnError, 4)


def test_exception_in_the_criterion():
    def criterion(output, target):
        if (output.requires_grad and calls.append(1)) or len(calls) == 6:
            raise OwnError
        return F.cross_entropy(output, target)

    calls = []
    run = failed(made(lambda: Trouble(0, None)), criterion=criterion)
    state, losses = reference(5)
    assert isinstance(run.error, OwnError)
    assert run.history.train_loss.tolist() == losses
    assert same(state_of(run.model), state)


def test_fit_raises_with_the_run_attached():
    with pytest.raises(OwnError, match="on purpose") as caught:
        fit(made(lambda: Trouble(3, raises)), some_digits(), SPEC)
    run = caught.value.run
    assert (run.state, run.history.num_steps) == ("failed", 2)


# -- numbers that are not finite ---------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(step=st.integers(1, 30), value=st.sampled_from([float("nan"), float("inf"), -float("inf")]))
def test_a_loss_that_is_not_finite(step, value):
    torch.set_num_threads(1)
    run = failed(made(lambda: Trouble(step, lambda out: out * value)))
    assert isinstance(run.error, NonFiniteError)
    assert f"in step {step}" in str(run.error)
    state, losses = reference(step - 1)
    assert run.history.train_loss.tolist() == losses
    assert all(tensor.isfinite().all() for tensor in state_of(run.model))
    assert same(state_of(run.model), state)
    run.model.act = lambda out: out
    assert fit(run.model, some_digits(), SPEC.replace(epochs=1)).state == "finished"


def test_a_batch_of_infinities_does_not_poison_batch_norm():
    data = some_digits()
    model = made(Regularised)
    run = Run(model, data, SPEC)
    run.step(4)
    before = state_of(model)
    data.train.x.fill_(float("inf"))  # the epoch's batches were gathered before: the next epoch meets them
    run.resume().wait()
    assert isinstance(run.error, NonFiniteError)
    assert run.history.num_steps == 10
    assert all(tensor.isfinite().all() for tensor in state_of(model))
    assert not same(state_of(model), before)
    assert same(state_of(model), reference(10, Regularised)[0])


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_under_a_finite_loss(clip):
    class Poison(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * float("nan")

    model = made(lambda: Trouble(6, Poison.apply))
    run = Run(model, some_digits(), SPEC.replace(clip_grad_norm=clip))
    run.step(5)
    before = state_of(model)
    run.resume().wait()
    assert isinstance(run.error, NonFiniteError)
    assert "gradient" in str(run.error)
    assert "in step 6" in str(run.error)
    assert run.history.num_steps == 5
    assert same(state_of(model), before)
    assert all(torch.isfinite(t).all() for s in run.optimizer.state.values() for t in s.values() if torch.is_tensor(t))
    assert all(param.grad is None for param in model.parameters())


def test_too_large_an_lr_warns_and_advises():
    model = made(lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 10)))
    start = state_of(model)
    with pytest.warns(RuntimeWarning, match=r"became (nan|inf|infinite).*run.restore\(\"(start|best)\"\)"):
        run = fit(model, "digits", TrainSpec(lr=100, epochs=3))
    assert run.state == "failed"
    assert run.traceback == ""
    run.restore("start")
    assert same(state_of(model), start)


def test_validation_that_is_not_finite_is_never_best():
    class Overflows(Regularised):
        def forward(self, x):
            return super().forward(x) * (1 if self.training else float("inf"))

    run = fit(made(Overflows), some_digits(), SPEC)
    assert run.best is None
    assert run.history.best() is None
    with pytest.raises(RuntimeError, match=r'run\.restore\("start"\)'):
        run.restore("best")


# -- going back --------------------------------------------------------------------------------------------------------


def test_restore_goes_to_the_best_the_start_and_the_last():
    model = made(Regularised)
    start = state_of(model)
    run = Run(model, some_digits(), SPEC.replace(epochs=8, lr=0.3, momentum=0.95))
    run.step(65)
    last = state_of(model)
    assert run.best == min(run.history.epochs, key=lambda record: record.valid_loss)
    assert same(state_of(run.restore("start").model), start)
    assert same(state_of(run.restore("last").model), last)
    best = state_of(run.restore("best").model)
    assert not same(best, last)
    assert run._trainer.validate()[0] == run.best.valid_loss
    assert same(state_of(run.restore("last").model), last)
    run.step()
    newer = state_of(model)
    assert same(state_of(run.restore("last").model), newer)
    run.restore("start")
    assert same(state_of(run.restore("last").model), newer)
    run.stop()


def test_restore_is_refused_while_weights_move():
    model = lenet()
    first = fit(model, some_digits(), SPEC)
    second = Run(model, some_digits(), SPEC.replace(epochs=10**5)).start()
    for run in (first, second):
        with pytest.raises(RuntimeError, match=r"run.pause\(\) or run.stop\(\)"):
            run.restore("start")
    second.pause()
    first.restore("start")
    assert same(state_of(model), state_of(lenet()))
    second.stop()


def test_restore_of_an_unknown_point():
    run = Run(lenet(), some_digits(), SPEC)
    with pytest.raises(ValueError, match=r"'first'.*try run\.restore"):
        run.restore("first")
    with pytest.raises(RuntimeError, match="no epoch has ended"):
        run.restore("best")


# -- models and data that cannot train, or only just -------------------------------------------------------------------


def test_no_parameters():
    for model in (nn.Flatten(), lenet().requires_grad_(False)):
        with pytest.raises(ValueError, match="no parameters to train"):
            Run(model, some_digits())


def test_no_module():
    with pytest.raises(TypeError, match="function"):
        Run(lambda x: x, some_digits())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(ValueError, match="try device='cpu'"):
        Run(lenet(), some_digits(), TrainSpec(device=device))


def test_one_sample_left_over_with_batch_norm():
    data = some_digits(41)
    run = fit(made(Regularised), data, SPEC)
    assert run.history.num_steps == 6
    assert run.history.num_epochs == 3


def test_batches_of_one_with_batch_norm_are_torchs_error():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        fit(made(Regularised), some_digits(), SPEC.replace(batch_size=1))


def test_one_sample_left_over_with_frozen_batch_norm():
    model = made(Regularised)
    model.bn1.eval()
    model.bn.eval()
    assert fit(model, some_digits(41), SPEC).history.num_steps == 9


def test_tuple_output_needs_a_criterion():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = lenet()

        def forward(self, x):
            return self.net(x), x

    with pytest.raises(TypeError, match=r"returned a tuple.*pass criterion=lambda"):
        fit(Two(), some_digits(), SPEC)
    run = fit(Two(), some_digits(), SPEC, criterion=lambda output, target: F.cross_entropy(output[0], target))
    assert run.history.epochs[-1].train_accuracy is None
    assert run.history.train_loss.tolist() == fit(lenet(), some_digits(), SPEC).history.train_loss.tolist()


def test_criterion_without_reduction_is_told():
    with pytest.raises(ValueError, match=r"shape \(20,\).*\.mean\(\)"):
        fit(lenet(), some_digits(), SPEC, criterion=nn.CrossEntropyLoss(reduction="none"))


def test_wrong_number_of_classes_fails_in_step_1():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(IndexError) as caught:
        fit(model, some_digits(), SPEC)
    assert caught.value.run.history.num_steps == 0


def test_one_output_for_all_classes_has_no_accuracy():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    run = fit(model, some_digits(), SPEC, criterion=lambda o, t: F.mse_loss(o[:, 0], t.float()))
    assert run.history.epochs[-1].valid_accuracy is None


def test_gradients_left_by_somebody_do_not_count():
    model = lenet()
    F.cross_entropy(model(torch.ones(4, 1, 8, 8)), torch.zeros(4, dtype=torch.long)).backward()
    run = Run(model, some_digits(), SPEC).step(2)
    F.cross_entropy(model(torch.ones(4, 1, 8, 8)), torch.zeros(4, dtype=torch.long)).backward()
    run.resume().wait()
    assert run.history.train_loss.tolist() == fit(lenet(), some_digits(), SPEC).history.train_loss.tolist()


def test_recipes_and_errors_are_public_types():
    assert issubclass(SpecError, ValueError)
    assert issubclass(NonFiniteError, ArithmeticError)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(lenet(), some_digits(), SPEC.replace(epochs=1))
