"""The same sweep on a real engine and on a real database: workers die in the middle of a trial."""

import os
import signal
import time

import pytest
import torch
from postgres import postgres
from sweep_nets import slow
from waiting import until

from convlab.search.sweep import Sweep
from convlab.spec import TrainSpec

X = torch.randn(48, 1, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = ((X[:32], torch.arange(32) % 10), (X[32:], torch.arange(16) % 10))
SPEC = TrainSpec(epochs=4, batch_size=8, threads=1)


def _sweep(path, **more) -> Sweep:
    return Sweep(slow, DATA, SPEC, {"lr": (1e-3, 0.1, "log")}, directory=path, pruner="none", heartbeat=1, **more)


@pytest.mark.slow
def test_dask_trains_the_trials_and_a_killed_worker_costs_none(tmp_path) -> None:
    distributed = pytest.importorskip("distributed")
    sweep = _sweep(tmp_path / "sweep")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", local_directory=tmp_path
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        sweep.run(6, workers=2, submit=client.submit)
        assert sweep.state == "running"
        # Asked for before: a busy worker answers late, and its trial may be over by then.
        pid = next(iter(client.run(os.getpid).values()))
        until(lambda: sweep.counts.finished >= 1 and sweep.counts.running == 2)
        os.kill(pid, signal.SIGKILL)
        sweep.wait(120)
        counts = sweep.counts
        assert (counts.finished, counts.retried, counts.lost) == (6, 1, 0)
        assert len([one for one in sweep.study.trials if one.state.name == "COMPLETE"]) == 6
        until(lambda: all(one.done() for one in sweep.futures))
        assert [one.status for one in sweep.futures] == ["finished"] * 2
        assert sweep.state == "finished"


@pytest.mark.slow
def test_postgresql_keeps_a_sweep_whose_worker_is_killed(tmp_path) -> None:
    with postgres() as server:
        url = server.url
        sweep = _sweep(tmp_path / "sweep", storage=url).run(4)
        until(lambda: sweep.counts.finished >= 1 and sweep.counts.running == 1)
        before = sweep.trials[0]
        (worker,) = sweep.workers
        os.kill(worker.pid, signal.SIGKILL)
        until(lambda: not sweep.workers)
        again = _sweep(tmp_path / "sweep", storage=url)
        assert again.run(4, workers=0).counts.finished == 4
        assert (again.counts.retried, again.counts.lost) == (1, 0)
        assert again.trials[0] == before
        assert not list((tmp_path / "sweep").glob("*.sqlite3"))
        other = _sweep(tmp_path / "other", storage=url)
        assert other.trials == []
        for one in (sweep, again, other):
            one.study._storage._backend.engine.dispose()


@pytest.mark.slow
def test_a_database_that_goes_away_for_a_while_costs_no_trial(tmp_path) -> None:
    with postgres() as server:
        sweep = _sweep(tmp_path / "sweep", storage=server.url).run(5, workers=2)
        until(lambda: sweep.counts.finished >= 1 and sweep.counts.running == 2)
        server.stop()
        time.sleep(2)
        server.start()
        sweep.wait(120)
        counts = sweep.counts
        assert (counts.finished, counts.lost) == (5, 0)
        # The server takes a moment to stop, in which one of the two may still have come to its end.
        cut_off = [one for one in sweep.study.trials if one.state.name == "FAIL"]
        assert counts.retried == len(cut_off) >= 1
        sweep.study._storage._backend.engine.dispose()
