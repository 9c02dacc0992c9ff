"""What holds for every test."""

import os

# Workers share the processors; torch is imported by nearly every file of a worker's share anyway.
if "PYTEST_XDIST_WORKER" in os.environ:
    import torch

    torch.set_num_threads(1)
