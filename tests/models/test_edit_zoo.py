"""Every network of the zoo: a width doubled, a kernel grown; it runs and returns the same sizes, or is left alone."""

import pytest
import torch
import zoo
from edit_nets import bits, same

from convlab.models.live import EditError, bind

ENTRIES = [entry for entry in zoo.load().values() if not {"float16", "meta"} & entry.flags]
EDITS = 10
pytestmark = pytest.mark.slow


def sizes(value):
    return [
        tuple(tensor.shape) for tensor in torch.utils._pytree.tree_leaves(value) if isinstance(tensor, torch.Tensor)
    ]


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.name for entry in ENTRIES])
def test_it_runs_or_is_left_alone(entry):
    model = entry.model()
    args, keywords = entry.cast_call()
    live = bind(model, input_data=keywords or (args if len(args) > 1 else args[0]))
    model.eval()

    def run():
        torch.manual_seed(0)
        with torch.no_grad():
            return sizes(model(*args, **keywords))

    expected = run()
    wishes = [(path, name) for path, layer in live.layers.items() for name in layer.settings]
    wishes = [w for w in wishes if w[1] in ("out_channels", "out_features", "kernel_size")]
    for path, name in wishes[:EDITS]:
        value = live.layers[path].settings[name]
        if not isinstance(value, int):
            continue
        before = bits(model)
        try:
            plan = live.edit(path, **{name: 2 * value if name != "kernel_size" else value + 2})
        except EditError:
            assert same(bits(model), before)
            continue
        found = run()
        assert len(found) == len(expected)
        if not plan.notes:
            assert found == expected
        live.undo()
        assert same(bits(model), before)
