"""The runs of a sweep on a Dask cluster (`--cluster tcp://HOST:PORT`): the same units as on this machine's cores.

The scheduler shares the units out and gives those of a worker that died to another one. Each worker gets the sweep's
luggage once, as a plugin, also one that joins later: the scenario, the files that it names, the engine. What it must
have is this very package, since its code decides the figures; that is asked before the first run, and again by every
worker that joins. Dask workers do whatever they are told, by anybody who reaches their scheduler: docs/SWEEPS.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import logging
import pickle
import platform
import queue
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import distributed
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.scheduler import KilledWorker

from lab import sweep_units
from lab.errors import LabError, Unavailable
from lab.limits import CLUSTER_ANSWER_S_MAX, SWEEP_CONNECT_S_MAX, SWEEP_WITHOUT_WORKERS_S_MAX
from lab.progress import Stop, never
from lab.record import nonce
from lab.sweep_files import Luggage
from lab.sweep_units import Row, Unit

if TYPE_CHECKING:
    from distributed import Worker

    from lab.replicate import Simulate

Client = Any
Future = Any
"""Those of Dask, which are not typed."""
AHEAD: Final = 16
"""Units a thread that are handed out at a time: enough that no worker waits for the next."""
AHEAD_MIN: Final = 32
RETRIES: Final = 2
"""How often a unit whose result was lost on its way is asked for again; a unit that fails is a row, and no loss."""
LOOK_S: Final = 0.1
COUNT_EVERY_S: Final = 1.0
SHAPING: Final = ("numpy", "pandas", "simpy")
"""Packages whose versions may change the last digit of a figure."""


# ---- on this side ----------------------------------------------------------------------------------------------------


def run(
    address: str,
    simulate: Simulate,
    luggage: Luggage,
    units: Sequence[Unit],
    on_done: Callable[[Row], None],
    watched: Callable[[int], None],
    stop: Stop = never,
) -> None:
    """Work off the units (their values as the luggage names them) on the cluster, telling each row as it comes.

    Raises Unavailable if there is no scheduler at `address`, no worker, a worker with other code, or if the cluster
    goes away in the middle.
    """
    with _connected(address) as client:
        _demand_same_code(client, address, simulate)
        name = f"meshlab-sweep-{nonce()}"
        client.register_plugin(_Carried(simulate, luggage), name=name)
        _Course(client, address, name, units, on_done, watched).run(stop)
        client.unregister_worker_plugin(name)  # which ends what still runs there, where it was stopped


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """A client of the scheduler. Whatever the cluster has to say of itself is said in one line, by an error."""
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
    connect: Client = distributed.Client
    try:
        asyncio.run(_knock(address))
        client = connect(address, timeout=SWEEP_CONNECT_S_MAX, set_as_default=False, name="meshlab-sweep")
    except (OSError, TimeoutError, ValueError, OverflowError) as error:
        raise Unavailable(
            f"--cluster {address}: no Dask scheduler answers there within {SWEEP_CONNECT_S_MAX:g} s; start one by "
            "`dask scheduler` and workers by `dask worker ADDRESS`, or leave --cluster out"
        ) from error
    try:
        yield client
    except (OSError, TimeoutError, asyncio.CancelledError) as error:
        raise Unavailable(
            f"--cluster {address}: the scheduler has gone away; what was run is kept, --resume goes on with it"
        ) from error
    finally:
        with suppress(OSError, TimeoutError):
            client.close(timeout=CLUSTER_ANSWER_S_MAX)


async def _knock(address: str) -> None:
    """Raise OSError or ValueError if nobody answers at the address. Asked before there is a client, since one that has
    never been connected writes a stack trace when it is thrown away.
    """
    dask: Any = distributed  # which is not typed
    secured = dask.Security().get_connection_args("client")
    connected = await dask.comm.connect(address, timeout=SWEEP_CONNECT_S_MAX, **secured)
    await connected.close()


class _Course:
    """The units on their way through the cluster."""

    def __init__(
        self,
        client: Client,
        address: str,
        plugin: str,
        units: Sequence[Unit],
        on_done: Callable[[Row], None],
        watched: Callable[[int], None],
    ) -> None:
        self._client, self._address, self._plugin = client, address, plugin
        self._left = iter(units)
        self._on_done, self._watched = on_done, watched
        self._task = _there()
        self._out: dict[Future, Unit] = {}
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._threads = self._done = 0
        self._count_at = 0.0
        self._peopled_at = time.monotonic()

    def run(self, stop: Stop) -> None:
        """Until all are done, or until it is stopped."""
        while True:
            self._look_at_the_workers()
            self._hand_out()
            if not self._out:
                return
            self._take_in()
            if stop():
                self._client.cancel(list(self._out))
                return

    def _look_at_the_workers(self) -> None:
        now = time.monotonic()
        if now < self._count_at:
            return
        self._count_at = now + COUNT_EVERY_S
        self._threads = sum(_threads(self._client).values())
        if self._threads:
            self._peopled_at = now
        elif now - self._peopled_at > SWEEP_WITHOUT_WORKERS_S_MAX:
            raise Unavailable(
                f"--cluster {self._address}: has had no worker for {SWEEP_WITHOUT_WORKERS_S_MAX:g} s; what was run is "
                "kept, start workers and go on by --resume"
            )

    def _hand_out(self) -> None:
        for unit in islice(self._left, max(AHEAD_MIN, AHEAD * self._threads) - len(self._out)):
            key = f"{self._plugin}-{unit.point}-{unit.replication}"
            future = self._client.submit(
                self._task, self._plugin, pickle.dumps(unit), key=key, retries=RETRIES, pure=False
            )
            self._out[future] = unit
            future.add_done_callback(self._ended.put)

    def _take_in(self) -> None:
        ended = list(_drained(self._ended))
        well = [future for future in ended if future.status == "finished"]
        for row, future in zip(self._fetched(well), well, strict=False):
            self._row(future, row)
        for future in ended:
            if future.status in ("error", "cancelled", "lost"):
                self._row(future, self._loss(future))

    def _fetched(self, futures: list[Future]) -> list[Row | None]:
        """Their rows; none of them, if one has to be made again because its worker is gone: they come later."""
        try:
            return list(self._client.sync(_gathered, self._client, futures)) if futures else []
        except TimeoutError:
            for future in futures:
                self._ended.put(future)
            return []

    def _row(self, future: Future, row: Row | None) -> None:
        if self._out.pop(future, None) is None or row is None:
            return  # told already; or stopped before its end
        self._done += 1
        self._on_done(row)
        self._watched(self._done)

    def _loss(self, future: Future) -> Row:
        """The row of a unit that no worker survived. Whatever else kept it from being run ends the sweep."""
        error = future.exception(timeout=CLUSTER_ANSWER_S_MAX) if future.status == "error" else None
        unit = self._out[future]
        if isinstance(error, KilledWorker):
            lost = "every worker that ran it was lost, most likely for want of memory; give it fewer tasks"
            return {"point": unit.point, "replication": unit.replication, "error": lost}
        if isinstance(error, LabError):
            raise error
        why = f"{type(error).__name__}: {error}" if error else "the scheduler has forgotten it, or has gone away"
        raise Unavailable(
            f"--cluster {self._address}: point {unit.point} could not be run ({why}); what was run is kept, --resume "
            "goes on with it"
        )


async def _gathered(client: Client, futures: list[Future]) -> Any:
    return await asyncio.wait_for(client.gather(futures, asynchronous=True), CLUSTER_ANSWER_S_MAX)


def _drained(ended: queue.SimpleQueue[Future]) -> Iterator[Future]:
    """All that have ended, after the first one, or none after LOOK_S."""
    with suppress(queue.Empty):
        yield ended.get(timeout=LOOK_S)
        while True:
            yield ended.get_nowait()


def _threads(client: Client) -> dict[str, int]:
    """The threads of each worker, by its address."""
    return dict(client.sync(client.scheduler.ncores, callback_timeout=CLUSTER_ANSWER_S_MAX))


# ---- the same code on both sides -------------------------------------------------------------------------------------


@cache
def code(engine: str) -> dict[str, str]:
    """What decides the figures: this package (a digest of its sources), the engine's, Python and a few others."""
    found = {name: _sources(name) for name in ("lab", engine)}
    found["python"] = ".".join(platform.python_version_tuple()[:2])
    for package in SHAPING:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _sources(package: str) -> str:
    home = Path(str(importlib.import_module(package).__file__)).parent
    content = hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        content.update(path.relative_to(home).as_posix().encode() + path.read_bytes())
    return content.hexdigest()[:12]


def _engine(simulate: Simulate) -> str:
    return simulate.__module__.partition(".")[0]


def _demand_same_code(client: Client, address: str, simulate: Simulate) -> None:
    """Raise Unavailable, saying what each worker lacks. Who is too busy to answer is asked when it joins the work."""
    with suppress(TimeoutError):
        client.wait_for_workers(1, timeout=SWEEP_CONNECT_S_MAX)
    workers = list(_threads(client))
    if not workers:
        raise Unavailable(f"--cluster {address}: the scheduler has no workers; start some by `dask worker {address}`")
    asked = {
        worker: client.submit(_asking(), _engine(simulate), workers=[worker], allow_other_workers=False, pure=False)
        for worker in workers
    }
    ours, wrong = code(_engine(simulate)), []
    until = time.monotonic() + SWEEP_CONNECT_S_MAX
    for worker, future in asked.items():
        with suppress(TimeoutError):
            if why := _apart(ours, future.result(timeout=max(LOOK_S, until - time.monotonic()))):
                wrong.append(f"{worker}: {why}")
    if wrong:
        raise Unavailable(
            f"--cluster {address}: workers need the very package that is here, with its dependencies, on their "
            "Python path:\n" + "\n".join(wrong)
        )


def _apart(ours: Mapping[str, str], theirs: Mapping[str, str] | str) -> str:
    """What differs, in words; nothing if nothing does."""
    if isinstance(theirs, str):
        return f"cannot import it ({theirs})"
    named = ((name, ours[name], theirs.get(name, "missing")) for name in ours)
    return ", ".join(f"{name} is {found} there and {here} here" for name, here, found in named if here != found)


def _asking() -> Callable[[str], dict[str, str] | str]:
    """A function that travels as it stands, so that it can say what a worker lacks."""

    def ask(engine: str) -> dict[str, str] | str:
        try:
            from lab.sweep_cluster import code

            return code(engine)
        except ImportError as error:
            return str(error)

    return ask


# ---- on a worker -----------------------------------------------------------------------------------------------------


class _Carried(WorkerPlugin):
    """The luggage of a sweep in a worker, as long as the sweep lasts."""

    def __init__(self, simulate: Simulate, luggage: Luggage) -> None:
        self._engine = pickle.dumps(simulate)
        self._code = code(_engine(simulate))
        self._module = _engine(simulate)
        self._luggage = luggage
        self._base = ""
        self._fault = ""
        self._over = False

    def setup(self, worker: Worker) -> None:
        """Called once in every worker, before it gets a unit."""
        self._fault = _apart(self._code, code(self._module))
        self._base = tempfile.mkdtemp(prefix="meshlab-sweep-", dir=worker.local_directory)
        for name, held in self._luggage.files.items():
            (Path(self._base) / name).write_bytes(held)

    def teardown(self, worker: Worker) -> None:
        """The sweep is over: what still runs here ends early."""
        self._over = True
        shutil.rmtree(self._base, ignore_errors=True)

    def run(self, unit: Unit) -> Row | None:
        """One unit."""
        if self._fault:
            raise Unavailable(f"a worker that has joined the cluster has other code: {self._fault}")
        simulate = pickle.loads(self._engine)
        return sweep_units.run(simulate, self._luggage.scenario, self._base, unit, lambda: self._over)


def run_here(plugin: str, unit: bytes) -> Row | None:
    """A unit in the worker that this is."""
    carried = distributed.get_worker().plugins[plugin]
    assert isinstance(carried, _Carried)
    return carried.run(pickle.loads(unit))


def _there() -> Callable[[str, bytes], Row | None]:
    """What is submitted. It travels as it stands, so that the scheduler need not have the package."""

    def there(plugin: str, unit: bytes) -> Row | None:
        from lab.sweep_cluster import run_here

        return run_here(plugin, unit)

    return there
