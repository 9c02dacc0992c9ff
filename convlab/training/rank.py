"""One of the processes that train a network together; `convlab.training.processes` begins them.

``python -m convlab.training.rank agent JOB SHA256 COUNT PID BEGAN`` is the agent, torch's own, which begins COUNT
processes, and begins all anew where one was killed. Each of them goes on from the last whole epoch. All end within
seconds when the process PID is there no more, or the agent.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.distributed.distributed_c10d import _set_pg_timeout

from convlab.data.sources import DatasetSource
from convlab.training.autosave import saved_runs
from convlab.training.epoch_metrics import Scoring
from convlab.training.job import Job
from convlab.training.lifeline import Kin, follow, kin_of
from convlab.training.peers import OwnPart, PeerError, Peers, together
from convlab.training.run import Run

RESTARTS: Final = 3
"""How often all are begun anew."""

_MEETING: Final = timedelta(seconds=60)
"""For the processes to find one another, before all are begun anew."""

_PATIENCE: Final = timedelta(days=7)
"""Longer than any step or validation: whether a peer is alive is the agent's to find out."""


def agent(job: Path, digest: str, count: int, parent: Kin) -> None:
    """Begin the processes and wait for them."""
    # Whoever asked for it will not clear up any more, and the data may be private.
    follow([parent], partial(_die, job))
    from torch.distributed.run import main

    kin = [*parent, *kin_of(os.getpid())]
    main(
        [
            *("--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={count}", f"--max-restarts={RESTARTS}"),
            *("--monitor-interval=0.2", "-m", "convlab.training.rank"),
            *("rank", str(job), digest, *map(str, kin)),
        ]
    )


def _die(job: Path | None = None) -> None:
    if job is not None:
        time.sleep(1)  # the others write no more then
        shutil.rmtree(job, ignore_errors=True)
    os._exit(1)


def rank(job: Job, digest: str) -> None:
    """Train as one of them."""
    number, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    _take_device(number)
    given = job.read(digest)
    spread = given.data.train
    if isinstance(spread, DatasetSource):
        spread = DatasetSource(OwnPart(spread.dataset, number, count), spread.input_size)
    data = replace(given.data, train=spread)
    found = saved_runs(job.saved) if job.saved.exists() else []
    path = found[0].path if found else job.start
    # Only the first writes, so that there is one file, and one weight of the scores in it.
    saved = job.saved if number == 0 else None
    run = Run.load(path, given.model, data, criterion=given.criterion, autosave=saved)
    if run.ended or (found and job.stop.exists()):
        return
    _meet("nccl" if run.device.type == "cuda" else "gloo", number, count)
    trainer = run._trainer
    trainer.scoring = Scoring(run.data.classes, given.metrics)
    trainer.peers = Peers(run.device, job.stop.exists, partial(run.stop, wait=False))
    done = trainer.history.num_steps
    run._to_replay.extend(one for one in given.journal if one.step > done or not found)
    if number:
        run.snapshots.budget = 0
        trainer.scores.put((0.0, 0, 0, 0))
    run.start().wait()
    if number == 0:
        job.keep_scores(run.metrics)
    if run.error is not None and not isinstance(run.error, PeerError):
        job.fail(number, run.error)
    elif run.autosave is not None and run.autosave.failed:
        raise OSError(run.autosave.note)


def _meet(backend: str, number: int, count: int) -> None:
    """Find the others."""
    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=_MEETING)
    # The agent's store outlives a restart, and torch leaves the addresses of those that are gone in it.
    fresh = PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    meet = partial(dist.init_process_group, store=fresh, rank=number, world_size=count, timeout=_MEETING)
    together(partial(meet, backend))
    _set_pg_timeout(_PATIENCE)


def _take_device(number: int) -> None:
    """One GPU a process, which is the only one that it sees; talk to the others on this machine alone."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(one) for one in range(number + 1)] if visible is None else visible.split(",")
    if number < len(names):
        os.environ["CUDA_VISIBLE_DEVICES"] = names[number]
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)


def _main(role: str, path: str, digest: str, *rest: str) -> None:
    if role == "agent":
        count, pid, began = rest
        agent(Path(path), digest, int(count), (int(pid), float(began)))
        return
    pids, begans = rest[::2], rest[1::2]
    follow([(int(pid), float(began)) for pid, began in zip(pids, begans, strict=True)], _die)
    job = Job(Path(path))
    try:
        rank(job, digest)
    except Exception as error:
        job.fail(int(os.environ["RANK"]), error)
        # To end now would take the others along before whoever waits for them has read it.
        time.sleep(60)
        sys.exit(1)
    if dist.is_initialized():
        with contextlib.suppress(Exception):
            dist.destroy_process_group()
    # Threads of the user's own must not keep it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
