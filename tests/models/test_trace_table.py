"""The text table, specified by a golden file; ``python tests/models/test_trace_table.py`` writes it anew."""

from pathlib import Path

import torch.nn.functional as F
from torch import nn

from convlab.models.trace import trace

GOLDEN = Path(__file__).parent / "golden" / "trace_table.txt"


class Net(nn.Module):
    """A container, a function, a module called twice, a global mean, and at last a misfit."""

    def __init__(self, classes_in: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4))
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.conv.bias.requires_grad_(False)
        self.up = nn.Upsample(scale_factor=2)
        self.fc = nn.Linear(classes_in, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x + self.conv(self.conv(x))
        return self.fc(self.up(x).mean((2, 3)))


def tables() -> str:
    good, bad = trace(Net(), (2, 1, 20, 20)), trace(Net(5), (2, 1, 20, 20))
    return f"{good}\n\n{bad}\n"


def test_the_table_is_the_golden_one():
    assert tables() == GOLDEN.read_text()


if __name__ == "__main__":
    GOLDEN.write_text(tables())
