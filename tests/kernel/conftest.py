"""Fixtures of the tests that need a real kernel and no browser."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kernelspecs import install_ipykernel, write_kernelspec
from live_kernel import LiveKernel

KernelStarter = Callable[..., LiveKernel]


@pytest.fixture
def start_kernel(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[KernelStarter]:
    """``start_kernel(ipykernel=None, subshells=False)`` starts a kernel that ends with the test.

    ``ipykernel="6.30.1"`` takes that version in place of the installed one.
    """
    with ExitStack() as stack:

        def start(ipykernel: str | None = None, *, subshells: bool = False) -> LiveKernel:
            name, pythonpath = "python3", None
            if ipykernel is not None:
                name = f"ipykernel-{ipykernel}"
                pythonpath = install_ipykernel(ipykernel, pytestconfig.cache.mkdir(name))
            write_kernelspec(tmp_path, name, pythonpath=pythonpath)
            return stack.enter_context(LiveKernel(tmp_path, [str(tmp_path / "kernels")], name, subshells))

        yield start


@pytest.fixture
def kernel(start_kernel: KernelStarter) -> LiveKernel:
    """A fresh kernel of this interpreter."""
    return start_kernel()
