"""The names that users rely on: what can be imported, what the reference shows, what is promised.

The tables are the promise. A line that fails here is a change that breaks somebody's program.
"""

import ast
import functools
import inspect
import math
import re
import types
import typing
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

import poolder_trio
from poolder_trio import Backoff, MemoryState, Queue, Restart, Retry, abc, testing
from poolder_trio.kernel.job import Call, Status
from poolder_trio.kernel.options import Options
from poolder_trio.kernel.service import Service
from poolder_trio.policies.queues import Room

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [DOCS / "reference.md", *sorted((DOCS / "reference").glob("*.md"))]
FACES = (poolder_trio, abc, testing)
#: Others speak of these. The reference shows them, and they are in no face.
SPOKEN_OF = (Call, Room, Service)
#: There is such a thing; what it is, is not promised.
SOME: object = ...

COMPONENTS = "Pool FactoryPool GenPool Tasker JobPool AsyncPool Batcher Scheduler Application"
IN_ABC = "Codec Dispatch Executor Instrument Run StateBackend StateSource Trigger"

SIGNATURES = """
    whereis(name)
    Retry(attempts=1, backoff=0.0, factor=1.0, max_backoff=math.inf, jitter=0.0, on=Exception)
    Restart(max_restarts=0, within=5.0, mode="transient")

    Backoff(seconds, only=...)
    Emit(name, *args)
    Exit(reply=None)
    Stop(reply=None)
    Update(fn, reply=...)
    Continue(arg, state=..., reply=None)

    await Job.wait()
    await Job.wait_done()
    Job.result()
    Job.cancel()
    await await_many(jobs)
    as_completed(jobs)

    Queue(max=1000, order="fifo", overflow="wait", timeout=math.inf, min=0, codel=None)
    Queue.build()
    Room.put(item, now, key=None, priority=0)
    Room.get(now)
    Room.expire(now)
    Room.remove(item, now)
    Room.next_expiry(now)
    CoDel(target=0.1, interval=1.0)
    Rate(count, per=1.0, burst=1)
    Broker(max=math.inf, overflow="reject", timeout=5.0, workers="lifo")
    Broker.shared()
    phash(key, size)

    await Worker.handle_init()
    await Worker.handle_job(job)
    await Worker.handle_call(request)
    await Worker.handle_periodic_job(event)
    await Worker.handle_error(job, attempt, error)
    await Worker.handle_hibernate()
    await Worker.handle_stop()

    await Pool.handle_init()
    await Pool.cast(job)
    Pool.cast_nowait(job)
    await Pool.cast_many(jobs)
    await Pool.call(request)
    await Pool.broadcast(job)
    await Pool.broadcast_call(request)
    Pool.__getitem__(index)
    Pool.__len__()
    Pool.__iter__()
    await Pool.start_child(**args)
    await Pool.stop_child()
    await Pool.resize(size)
    await WorkerRef.cast(job)
    WorkerRef.cast_nowait(job)
    await WorkerRef.call(request)
    Dispatch.pick(key, now, loads)

    await FactoryPool.handle_down(ref, reason)
    await FactoryPool.start_child(group, worker, **args)
    await FactoryPool.call(ref, request, group=...)
    await FactoryPool.cast(ref, job, group=...)
    await FactoryPool.broadcast(group, job)
    await FactoryPool.dispatch(group, job)
    FactoryPool.count(group)
    FactoryPool.count_all()
    FactoryPool.children(group=None)
    await FactoryPool.terminate(ref)
    await FactoryPool.terminate_group(group)
    await FactoryPool.start_group(group, worker, **options)
    await FactoryPool.configure_group(group, **options)
    Request.reply(value)

    await GenPool.init()
    await GenPool.handle_call(request, state)
    await GenPool.handle_cast(request, state)
    await GenPool.handle_info(message, state)
    await GenPool.handle_continue(arg, state)
    await GenPool.terminate(reason, state)
    await GenPool.call(request)
    await GenPool.cast(request)
    GenPool.cast_nowait(request)
    GenPool.send_info(message)
    await GenPool.get_state()
    GenPool.children()
    GenPool.stop(reason)
    reads_state(handler)
    MemoryState()
    SQLiteState(path, codec=...)
    RedisState(url, key, codec=...)
    await StateBackend.load()
    await StateBackend.store(state, expected_version)

    await Tasker.execute(fn, *args)
    Tasker.execute_nowait(fn, *args)
    await Tasker.submit(fn, *args)
    Tasker.submit_nowait(fn, *args)
    await Tasker.call(fn, *args)
    Tasker.map(fn, inputs, ordered=False, outcomes=False)

    await JobPool.execute(fn, *args)
    await JobPool.submit(fn, *args)
    await JobPool.perform(fn, *args)
    await JobPool.async_perform(fn, *args)
    await JobPool.perform_many(fn, inputs)
    await JobPool.async_perform_many(fn, inputs)
    await JobPool.perform_after(seconds, fn, *args)
    await JobPool.perform_at(when, fn, *args)
    await JobPool.perform_many_after(seconds, fn, inputs)
    await JobPool.perform_many_at(when, fn, inputs)
    JobPool.workers()
    JobPool.jobs()
    JobPool.job(fn)
    Timer.remaining()
    await Timer.cancel()
    await perform(pool, fn, *args)
    await async_perform(pool, fn, *args)
    await perform_many(pool, fn, inputs)
    await async_perform_many(pool, fn, inputs)
    await perform_after(pool, seconds, fn, *args)
    await perform_at(pool, when, fn, *args)
    await perform_many_after(pool, seconds, fn, inputs)
    await perform_many_at(pool, when, fn, inputs)

    AsyncPool(callback)
    await AsyncPool.add_task(data, reply_to=...)
    Completion(ref, outcome)
    ThreadExecutor()
    ProcessExecutor()

    Every(seconds, jitter=0.0, start=None)
    Cron(expression, timezone=..., jitter=0.0)
    At(when)
    Trigger.next(after)
    every(seconds)
    cron(expression)
    await Scheduler.handle_init()
    await Scheduler.handle_job(name)
    await Scheduler.handle_error(name, attempt, error)
    await Scheduler.handle_hibernate()
    Scheduler.schedule(name, trigger, fn=None, *args)
    Scheduler.reschedule(jobs)
    Scheduler.unschedule(name)
    Scheduler.unschedule_all()
    Scheduler.next_fire(name)
    Scheduler.fire(name)

    Batcher(handle_batch=None)
    await Batcher.handle_init()
    await Batcher.handle_batch(batch)
    await Batcher.handle_error(batch, attempt, error)
    await Batcher.handle_hibernate()
    await Batcher.push(item)
    Batcher.push_nowait(item)
    await Batcher.push_many(items)
    await Batcher.push_front(item)
    await Batcher.call(item)
    await Batcher.flush()
    Batcher.pop_at(index, key=...)
    Batcher.__len__()

    Application(*components, **options)
    Application.from_toml(path)
    Application.__getitem__(key)
    run(app)

    Instrument.job_submitted(source, job)
    Instrument.job_started(source, job, worker)
    Instrument.job_retried(source, job, error, wait)
    Instrument.job_done(source, job)
    Instrument.job_failed(source, job, error)
    Instrument.job_dropped(source, job, reason)
    Instrument.worker_started(source, worker)
    Instrument.worker_stopped(source, worker)
    Instrument.worker_crashed(source, worker, error)
    Instrument.batch_flushed(source, batch)
    Instrument.schedule_fired(source, name, due)
    Instrument.schedule_missed(source, name, due, count, why)
    ShutdownReport(completed, failed, cancelled, dropped, abandoned)

    wall_clock(start)
    CancelAt(step)
    modes()
    jobs()
"""
OF_ALL_COMPONENTS = """
    close()
    cancel()
    await wait_idle()
    await wait_closed()
    await run()
    pause()
    resume()
    statistics()
"""

ALL = {"name": None, "grace": math.inf}
FUNCTIONS = {
    "queue": Queue(),
    "rate": None,
    "executor": None,
    "retry": Retry(),
    "restart": Restart(),
    "limit_per_key": None,
    "job_timeout": math.inf,
    "hibernate_after": math.inf,
    "overrun_warning": math.inf,
    "instruments": SOME,
}
OPTIONS: dict[str, dict[str, object]] = {
    "Worker": {
        "retry": Retry(),
        "callbacks": {},
        "priority": "normal",
        "hibernate_after": math.inf,
    },
    "Pool": {
        **ALL,
        "pool_size": 10,
        "mode": "round_robin",
        "seed": None,
        "dynamic": False,
        "args": {},
        "key": None,
        "queue": Queue(),
        "restart": Restart(),
        "schedules": {},
        "rate": None,
        "job_timeout": math.inf,
        "overrun_warning": math.inf,
        "instruments": SOME,
    },
    "FactoryPool": {**ALL, "restart": Restart(mode="temporary")},
    "GenPool": {
        **ALL,
        "pool_size": 5,
        "shared_state": True,
        "broker": poolder_trio.Broker(order="fifo", timeout=5.0, min=0, max=math.inf),
        "backend": SOME,
        "isolation": "lock",
        "args": {},
    },
    "Tasker": {**ALL, **FUNCTIONS, "limit": 5},
    "JobPool": {
        **ALL,
        **FUNCTIONS,
        "restart": Restart(mode="temporary"),
        "pool_size": 5,
        "clock": None,
        "timezone": "UTC",
    },
    "AsyncPool": {**ALL, "max_workers": 3, "max_results": 1000, "executor": None},
    "Batcher": {
        **ALL,
        "limit": 5,
        "timeout": math.inf,
        "reverse": False,
        "stream": False,
        "indexed": False,
        "retry": Retry(),
        "restart": Restart(),
        "queue": Queue(),
        "hibernate_after": math.inf,
        "priority": "normal",
        "concurrency": 1,
        "weight": None,
        "max_weight": math.inf,
        "key": None,
    },
    "Scheduler": {
        **ALL,
        "jobs": {},
        "retry": Retry(),
        "restart": Restart(),
        "overlap": "queue",
        "misfire_grace": math.inf,
        "coalesce": "latest",
        "timezone": "UTC",
        "clock": None,
        "hibernate_after": math.inf,
        "priority": "normal",
    },
    "Application": {**ALL, "default_pool": "job", "pool_size": 5, "extra_pools": SOME},
}

WORDS = {
    "Worker.priority": "low normal high max",
    "Batcher.priority": "low normal high max",
    "Scheduler.priority": "low normal high max",
    "Scheduler.overlap": "queue skip allow replace",
    "Scheduler.coalesce": "latest earliest all",
    "GenPool.isolation": "lock optimistic",
    "Pool.mode": "round_robin random monotonic phash broadcast least_loaded available",
    "Queue.order": "fifo lifo priority fair",
    "Queue.overflow": "wait reject drop_oldest drop_newest",
    "Restart.mode": "transient permanent temporary",
    "Broker.workers": "lifo fifo",
}
STATUSES = "waiting running backing-off done failed halted cancelled dropped abandoned"

ATTRIBUTES = {
    "Worker": "index name pool stack",
    "WorkerRef": "index alive",
    "Job": "status attempt",
    "Batch": "reason key",
    "BatchStream": "reason key",
    "Request": "message reply",
    "Completion": "ref outcome value",
    "AsyncPool": "results",
    **dict.fromkeys(COMPONENTS.split(), "name report"),
}
COUNTS = "submitted completed failed cancelled dropped abandoned running waiting"
FIELDS = {
    "Statistics": COUNTS,
    "ScheduleStatistics": f"{COUNTS} fired skipped missed",
    "ShutdownReport": "completed failed cancelled dropped abandoned",
}

BASES: dict[str, tuple[type, ...]] = {
    "Batch": (list,),
    "JobPool": (poolder_trio.Tasker,),
    "Broker": (Queue,),
    "PoolderError": (Exception,),
    "Closed": (poolder_trio.PoolderError, trio.ClosedResourceError),
    "QueueFull": (poolder_trio.PoolderError, trio.WouldBlock),
    "TooManyRequests": (poolder_trio.PoolderError,),
    "DuplicateName": (poolder_trio.PoolderError,),
    "RestartLimitExceeded": (poolder_trio.PoolderError,),
    "JobError": (poolder_trio.PoolderError,),
    "JobNotDone": (poolder_trio.JobError,),
    "JobHalted": (poolder_trio.JobError,),
    "JobCancelled": (poolder_trio.JobError,),
    "JobAbandoned": (poolder_trio.JobError,),
    "JobTimeout": (poolder_trio.JobError, trio.TooSlowError),
    "WorkerCrashed": (poolder_trio.JobError,),
}


# -- what can be imported, and what the reference shows


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_a_face_is_sorted_and_whole(face: types.ModuleType) -> None:
    names = face.__all__
    assert names == sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert [name for name in names if not hasattr(face, name)] == []


def test_contracts_are_in_abc() -> None:
    assert abc.__all__ == IN_ABC.split()
    both = set(abc.__all__) & set(poolder_trio.__all__)
    assert [n for n in both if getattr(abc, n) is not getattr(poolder_trio, n)] == []


def full_names() -> set[str]:
    """Every public name, as the reference has it: from the outermost place that has it."""
    found = {f"{face.__name__}.{name}" for face in reversed(FACES) for name in face.__all__}
    twice = {f"poolder_trio.abc.{name}" for name in abc.__all__ if name in poolder_trio.__all__}
    return found - twice


def shown() -> Counter[str]:
    """How often the reference shows each name."""
    directive = re.compile(
        r"^\.\. (?:auto(?!module|method)|py:(?=data))\w+:: ([\w.]+)", re.MULTILINE
    )
    names = [name for page in PAGES for name in directive.findall(page.read_text("utf-8"))]
    return Counter(n if n.startswith("poolder_trio.") else f"poolder_trio.{n}" for n in names)


def test_the_reference_shows_every_public_name_once_and_no_other() -> None:
    spoken_of = {f"{kind.__module__}.{kind.__qualname__}" for kind in SPOKEN_OF}
    assert shown() == Counter(full_names() | spoken_of)


def test_every_page_of_the_reference_is_listed() -> None:
    listed = re.findall(r"^reference/(\w+)$", PAGES[0].read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == [page.stem for page in PAGES[1:]]


def documented() -> Iterator[tuple[str, object]]:
    """Every public class and function, and all methods and properties that a class has of ours."""
    things = [getattr(face, name) for face in FACES for name in face.__all__]
    for thing in [*things, *SPOKEN_OF]:
        if inspect.isfunction(thing):
            yield thing.__qualname__, thing
        for base in inspect.getmro(thing) if isinstance(thing, type) else ():
            if not base.__module__.startswith("poolder_trio"):
                continue
            yield base.__qualname__, base
            for name, member in vars(base).items():
                plain = getattr(member, "__func__", member)
                if not name.startswith("_") and isinstance(plain, (types.FunctionType, property)):
                    yield f"{base.__qualname__}.{name}", plain


def test_every_public_name_says_what_it_is_for() -> None:
    found = dict(documented())
    assert {"Pool", "Pool.cast", "Service.wait_idle", "Job.status", "Application.from_toml"} <= {
        *found
    }
    assert [name for name, thing in found.items() if not thing.__doc__] == []


# -- what is promised


def lines(table: str) -> list[str]:
    """Return the lines of a table of signatures."""
    return [line.strip() for line in table.splitlines() if line.strip()]


def find(path: str) -> typing.Any:
    """Return what a dotted path of the tables names."""
    first, *others = path.split(".")
    known = {kind.__name__: kind for kind in SPOKEN_OF}
    for face in reversed(FACES):
        known |= {name: getattr(face, name) for name in face.__all__}
    return functools.reduce(getattr, others, known[first])


def parameters(call: ast.Call) -> list[tuple[str, object]]:
    """Return the names and defaults of a line of the table, in order."""
    found: list[tuple[int, str, object]] = []
    for each in call.args:
        name = each.value if isinstance(each, ast.Starred) else each
        assert isinstance(name, ast.Name)
        found.append((name.col_offset, name.id, SOME))
    for keyword in call.keywords:
        if keyword.arg is None:
            assert isinstance(keyword.value, ast.Name)
            found.append((keyword.col_offset, keyword.value.id, SOME))
        else:
            default = eval(ast.unparse(keyword.value), {"math": math})  # noqa: S307  # our own table
            found.append((keyword.col_offset, keyword.arg, default))
    return [(name, default) for _, name, default in sorted(found, key=lambda each: each[0])]


def check(line: str, prefix: str = "") -> None:
    """Hold one line of a table of signatures against what there is."""
    wanted = ast.parse(line, mode="eval").body
    call = wanted.value if isinstance(wanted, ast.Await) else wanted
    assert isinstance(call, ast.Call)
    function = find(prefix + ast.unparse(call.func))
    assert inspect.iscoroutinefunction(function) is isinstance(wanted, ast.Await)
    there = {n: p for n, p in inspect.signature(function).parameters.items() if n != "self"}
    promised = parameters(call)
    assert [name for name in there if name in dict(promised)] == [name for name, _ in promised]
    for name, default in promised:
        assert default is SOME or there[name].default == default, name
    for name, other in there.items():
        optional = other.default is not other.empty or other.kind in {
            other.VAR_KEYWORD,
            other.VAR_POSITIONAL,
        }
        assert optional or name in dict(promised), name


@pytest.mark.parametrize("line", lines(SIGNATURES))
def test_signature(line: str) -> None:
    check(line)


@pytest.mark.parametrize("component", COMPONENTS.split())
def test_every_component_has_the_life_of_one(component: str) -> None:
    for line in lines(OF_ALL_COMPONENTS):
        check(line, f"{component}.")


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, options in OPTIONS.items() for name in options]
)
def test_option(kind: str, name: str) -> None:
    options = find(kind)
    assert issubclass(options, Options)
    assert name in options.OPTIONS
    assert OPTIONS[kind][name] is SOME or options.declared(name) == OPTIONS[kind][name]


def test_a_server_keeps_its_state_in_memory_unless_told_otherwise() -> None:
    assert isinstance(poolder_trio.GenPool.backend, MemoryState)


@pytest.mark.parametrize("option", WORDS)
def test_words_of(option: str) -> None:
    kind, _, name = option.rpartition(".")
    there = find(kind)
    with pytest.raises(ValueError, match="nonsense") as refused:
        if issubclass(there, Options):
            there.OPTIONS[name](name, "nonsense", kind)
        else:
            there(**{name: "nonsense"})
    expected, _, _ = str(refused.value).partition("got")
    assert sorted(re.findall(r"'(\w+)'", expected)) == sorted(WORDS[option].split())


def test_words_for_how_far_a_job_is() -> None:
    assert typing.get_args(Status) == tuple(STATUSES.split())


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_attributes_of(kind: str) -> None:
    there = find(kind)
    notes = {name for base in there.__mro__ for name in inspect.get_annotations(base)}
    assert set(ATTRIBUTES[kind].split()) <= {*dir(there), *notes}


@pytest.mark.parametrize("kind", FIELDS)
def test_fields_of(kind: str) -> None:
    there = find(kind)
    assert [field.name for field in attrs.fields(there)] == FIELDS[kind].split()
    some = there(**dict.fromkeys(FIELDS[kind].split(), 0))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        some.completed = 1


@pytest.mark.parametrize("name", BASES)
def test_bases_of(name: str) -> None:
    assert [base for base in BASES[name] if not issubclass(find(name), base)] == []


def test_errors_say_what_led_to_them() -> None:
    dropped = poolder_trio.TooManyRequests("timeout", 1.5, 3)
    assert (dropped.rule, dropped.waited, dropped.waiting) == ("timeout", 1.5, 3)
    crash = KeyError()
    assert poolder_trio.RestartLimitExceeded("too many", [crash]).crashes == (crash,)


def test_what_handle_error_returns() -> None:
    assert poolder_trio.RETRY is poolder_trio.ErrorVerdict.RETRY
    assert poolder_trio.HALT is poolder_trio.ErrorVerdict.HALT
    assert Backoff(1.5, only=[1, 2]).only == (1, 2)


def test_reschedule_takes_a_trigger_or_a_name_and_a_trigger() -> None:
    own, other = poolder_trio.Reschedule(5.0), poolder_trio.Reschedule("prune", 5.0)
    assert (own.name, own.trigger) == (None, 5.0)
    assert (other.name, other.trigger) == ("prune", 5.0)


def test_a_job_pool_is_named_by_its_first_argument() -> None:
    assert poolder_trio.JobPool("email", pool_size=5).name == "email"
