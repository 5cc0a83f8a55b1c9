"""Jobs for later: timers against Trio's clock and the wall's, read, cancelled and abandoned."""

import contextvars
import itertools
import math
from datetime import datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

import poolder_trio
from poolder_trio import Closed, Instrument, JobAbandoned, JobPool, Queue, Restart, Timer
from poolder_trio.kernel import wall
from poolder_trio.testing import CancelAt

UTC = timezone.utc
NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


def noon():
    return NOON


class Notes:
    """What ran, and when."""

    def __init__(self):
        self.seen = []

    async def note(self, what):
        self.seen.append((what, trio.current_time()))


@pytest.fixture
def notes():
    return Notes()


# -- what the README of the original shows


async def test_readme_perform_after_so_many_seconds(notes, autojump_clock):
    async with JobPool("job") as pool:
        await pool.perform_after(1000, notes.note, "a")
        await poolder_trio.perform_after("job", 2000, notes.note, "b")
        await trio.sleep(3000)
    assert notes.seen == [("a", 1000), ("b", 2000)]


async def test_readme_perform_at_a_time_of_day(notes, autojump_clock):
    async with JobPool("job", clock=noon) as pool:
        timer = await pool.perform_at(time(3), notes.note, "verify")
        assert timer.remaining() == 15 * 3600
        await poolder_trio.perform_at("job", time(12, 30), notes.note, "half past")
        await trio.sleep(86_400)
    assert notes.seen == [("half past", 1800), ("verify", 15 * 3600)]


async def test_readme_perform_at_a_datetime(notes, autojump_clock):
    async with JobPool("job", clock=noon) as pool:
        berlin = ZoneInfo("Europe/Berlin")
        await pool.perform_at(datetime(2024, 3, 1, 14, tzinfo=berlin), notes.note, 1)
        await pool.perform_at(NOON, notes.note, 0)
        await trio.sleep(2 * 3600)
    assert notes.seen == [(0, 0), (1, 3600)]


async def test_readme_a_timer_can_be_read_and_cancelled(notes, autojump_clock):
    async with JobPool("job") as pool:
        timer = await pool.perform_after(10, notes.note, "never")
        await trio.sleep(4)
        assert timer.remaining() == 6
        assert repr(timer) == "<Timer Notes.note('never'): in 6 s>"
        assert await timer.cancel() == 6
        assert timer.remaining() == 0
        assert await timer.cancel() is None
        assert repr(timer) == "<Timer Notes.note('never'): cancelled>"
        await trio.sleep(20)
    assert notes.seen == []
    assert pool.report.abandoned == ()
    assert pool.statistics().submitted == 0


async def test_readme_when_the_timer_is_up_the_job_can_not_be_aborted(notes, autojump_clock):
    async with JobPool("job", pool_size=1) as pool:
        await pool.perform(trio.sleep, 5)
        timer = await pool.perform_after(1, notes.note, "a")
        await trio.sleep(2)
        assert pool.statistics().waiting == 1
        assert await timer.cancel() is None
        assert repr(timer) == "<Timer Notes.note('a'): fired>"
    assert notes.seen == [("a", 5)]


async def test_readme_a_fired_job_waits_in_the_queue_if_all_workers_are_busy(notes, autojump_clock):
    async with JobPool("job", pool_size=1, queue=Queue(max=1)) as pool:
        await pool.perform_many(trio.sleep, [5, 5])  # the queue is full
        await pool.perform_many_after(1, notes.note, ["a", "b"])
        await trio.sleep(2)
        assert pool.statistics().waiting == 3
    assert notes.seen == [("a", 10), ("b", 10)]


# -- bugs of the original


async def test_two_thousand_delayed_jobs_all_fire(notes, autojump_clock):
    async with JobPool("job", queue=Queue(max=10)) as pool:
        for number in range(2000):
            await pool.perform_after(number % 7, notes.note, number)
        await trio.sleep(10)
    assert sorted(number for number, _ in notes.seen) == list(range(2000))
    assert all(at == number % 7 for number, at in notes.seen)


# -- many


async def test_many_at_one_time_have_one_timer_and_keep_their_order(notes, autojump_clock):
    async with JobPool("job", pool_size=1, clock=noon) as pool:
        timer = await pool.perform_many_after(2, notes.note, range(3))
        assert repr(timer) == "<Timer Notes.note(0) and 2 more: in 2 s>"
        await pool.perform_many_at(time(12, 0, 3), notes.note, [3])
        await poolder_trio.perform_many_after("job", 4, notes.note, [4])
        await poolder_trio.perform_many_at("job", time(12, 0, 5), notes.note, [5])
        await pool.perform_many_after(1, notes.note, [])
        await trio.sleep(10)
    assert notes.seen == [(0, 2), (1, 2), (2, 2), (3, 3), (4, 4), (5, 5)]


# -- what the rules of the queue do to a job whose time has come


@pytest.mark.parametrize(
    ("overflow", "ran"), [("reject", []), ("drop_newest", []), ("drop_oldest", ["b"])]
)
async def test_what_a_rule_drops_on_firing_is_counted(overflow, ran, notes, autojump_clock):
    queue = Queue(max=1, overflow=overflow)
    async with JobPool("job", pool_size=1, queue=queue) as pool:
        await pool.perform(trio.sleep, 9)
        await trio.lowlevel.checkpoint()
        await pool.perform(trio.sleep, 1)
        await pool.perform_many_after(1, notes.note, ["a", "b"])
    # A timer does not hold the block open: the jobs do, until it has fired.
    assert [what for what, _ in notes.seen] == ran
    assert pool.report.dropped == 2
    assert pool.statistics().submitted == 4


@pytest.mark.parametrize("order", ["priority", "fair", "lifo"])
async def test_any_order_takes_what_fires_and_instruments_see_it(order, notes, autojump_clock):
    class Seen(Instrument):
        submitted = 0

        def job_submitted(self, component, job):
            self.submitted += 1

    seen = Seen()
    queue = Queue(max=1, order=order)
    async with JobPool(pool_size=1, queue=queue, instruments=[seen]) as pool:
        await pool.perform_many(trio.sleep, [5, 5])
        await pool.perform_many_after(1, notes.note, range(3))
    assert sorted(what for what, _ in notes.seen) == [0, 1, 2]
    assert seen.submitted == 5


# -- the life of the pool


async def test_leaving_abandons_what_has_not_fired_and_does_not_wait_for_it(notes, autojump_clock):
    async with JobPool("job") as pool:
        timer = await pool.perform_after(100, notes.note, "late")
        many = await pool.perform_many_after(100, notes.note, [1, 2])
        await pool.perform_after(1, notes.note, "in time")
        await pool.perform(trio.sleep, 2)
        await pool.wait_idle()
    assert trio.current_time() == 2
    assert notes.seen == [("in time", 1)]
    assert [call.args for call in pool.report.abandoned] == [("late",), (1,), (2,)]
    assert pool.statistics().submitted == 5
    assert repr(timer) == "<Timer Notes.note('late'): abandoned>"
    assert await timer.cancel() is None
    assert many.remaining() == 0


@pytest.mark.parametrize("end", ["close", "cancel"])
async def test_an_end_abandons_timers_and_takes_no_more(end, notes, autojump_clock):
    async with JobPool("job") as pool:
        await pool.perform_after(1, notes.note, "a")
        getattr(pool, end)()
        assert [call.args for call in pool.report.abandoned] == [("a",)]
        for refused in (
            lambda: pool.perform_after(1, notes.note, "b"),
            lambda: pool.perform_at(time(3), notes.note, "b"),
            lambda: pool.perform_many_after(1, notes.note, "b"),
            lambda: pool.perform_many_at(time(3), notes.note, "b"),
        ):
            with pytest.raises(Closed):
                await refused()
        await trio.sleep(5)
    assert notes.seen == []
    assert len(pool.report.abandoned) == 1


async def test_a_block_that_fails_abandons_timers(notes, autojump_clock):
    pool = JobPool("job", restart=Restart())
    with pytest.RaisesGroup(KeyError):
        async with pool:
            await pool.perform_after(1, notes.note, "a")
            raise KeyError
    assert len(pool.report.abandoned) == 1


LATE = {
    "perform_after": lambda pool, fn: pool.perform_after(1, fn, "late"),
    "perform_at": lambda pool, fn: pool.perform_at(time(3), fn, "late"),
    "perform_many_after": lambda pool, fn: pool.perform_many_after(1, fn, ["late"]),
    "perform_many_at": lambda pool, fn: pool.perform_many_at(time(3), fn, ["late"]),
    "perform": lambda pool, fn: pool.perform(fn, "late"),
    "async_perform": lambda pool, fn: pool.async_perform(fn, "late"),
    "perform_many": lambda pool, fn: pool.perform_many(fn, ["late"]),
    "call": lambda pool, fn: pool.call(fn, "late"),
}


@pytest.mark.parametrize("how", LATE)
async def test_while_a_pool_is_closing_a_stranger_is_refused_and_its_own_job_is_abandoned(
    how, notes, autojump_clock
):
    """It has not ended: a job that it has accepted still runs."""
    own = []

    async def work():
        await trio.sleep(5)
        try:
            own.append(await LATE[how](pool, notes.note))
        except JobAbandoned:
            own.append(how)

    async with JobPool("job") as pool:
        await pool.perform(work)
        await wait_all_tasks_blocked()
        pool.close()
        await trio.sleep(1)
        assert pool.statistics().running == 1
        with pytest.raises(Closed):
            await LATE[how](pool, notes.note)
        assert pool.report.abandoned == ()
    assert len(own) == 1
    assert len(pool.report.abandoned) == 1
    assert notes.seen == []
    assert (pool.report.completed, pool.report.failed) == (1, 0)


async def test_a_timer_of_a_closing_pools_own_job_is_abandoned(notes, autojump_clock):
    timers = []

    async def late():
        await trio.sleep(1)
        timers.append(await pool.perform_after(1, notes.note, "a"))

    async with JobPool("job") as pool:
        await pool.perform(late)
        await wait_all_tasks_blocked()
        pool.close()
    assert repr(timers[0]) == "<Timer Notes.note('a'): abandoned>"
    assert len(pool.report.abandoned) == 1
    assert pool.report.failed == 0


async def test_a_pool_that_is_not_open_sets_no_timer_and_one_that_opens_again_has_none(
    notes, autojump_clock
):
    pool = JobPool()
    with pytest.raises(Closed):
        await pool.perform_after(1, notes.note, 1)
    async with pool:
        await pool.perform_after(1, notes.note, 1)
    with pytest.raises(Closed):
        await pool.perform_at(time(3), notes.note, 1)
    async with pool:
        assert pool.jobs().delayed == ()
        await trio.sleep(5)
    assert notes.seen == []


async def test_a_delayed_job_runs_in_the_context_of_who_set_the_timer(autojump_clock):
    who = contextvars.ContextVar("who")
    seen = []

    async def look():
        seen.append(who.get())

    async with JobPool() as pool:
        who.set("me")
        await pool.perform_after(1, look)
        who.set("you")
        await trio.sleep(2)
    assert seen == ["me"]


async def test_setting_and_cancelling_a_timer_at_every_step_is_whole(notes, autojump_clock):
    kept = 0
    for step in itertools.count(1):
        timer = left = None
        async with JobPool() as pool:
            with CancelAt(step) as cut:
                timer = await pool.perform_after(1, notes.note, step)
                left = await timer.cancel()
            await trio.sleep(2)
            assert pool.jobs().delayed == ()
        # It was set and not taken back: then it fired, once.
        stands = timer is not None and left is None
        assert [what for what, _ in notes.seen] == [step] * stands
        notes.seen.clear()
        kept += stands
        if not cut.reached:
            break
    assert kept
    assert left == 1
    assert isinstance(timer, Timer)


# -- what is refused


@pytest.mark.parametrize(
    ("when", "error", "text"),
    [
        (datetime(2024, 4, 1), ValueError, "got the naive datetime.* give it a tzinfo"),  # noqa: DTZ001
        (NOON - timedelta(seconds=5), ValueError, r"got 2024-03-01T11:59:55\+00:00, which was 5 s"),
        ("03:00", TypeError, "expected an aware datetime, or a time of day, got '03:00'"),
        (NOON.date(), TypeError, "expected an aware datetime, or a time of day"),
    ],
)
async def test_a_wrong_time_says_what_was_expected(when, error, text, notes, autojump_clock):
    async with JobPool(clock=noon) as pool:
        with pytest.raises(error, match=text):
            await pool.perform_at(when, notes.note, 1)
        with pytest.raises(error, match=text):
            await pool.perform_many_at(when, notes.note, [1])
        assert pool.jobs().delayed == ()


@pytest.mark.parametrize(
    ("seconds", "error"), [(-1, ValueError), (math.inf, ValueError), ("1", TypeError)]
)
async def test_a_wrong_delay_says_what_was_expected(seconds, error, notes):
    async with JobPool("job") as pool:
        with pytest.raises(error, match=r"seconds must be a finite number .*\(job\)"):
            await pool.perform_after(seconds, notes.note, 1)
        with pytest.raises(error, match="seconds must be"):
            await pool.perform_many_after(seconds, notes.note, [1])


# -- the wall clock


async def test_under_a_mock_clock_the_wall_clock_is_read_once(autojump_clock):
    await trio.sleep(5)
    clock = wall.WallClock(noon)
    await trio.sleep(3600)
    assert clock.now() == NOON + timedelta(hours=1)
    assert clock.trusted(1e6) == 1e6


async def test_under_trios_clock_it_is_read_whenever_asked_and_at_least_once_a_minute():
    times = [NOON, NOON + timedelta(days=1)]
    clock = wall.WallClock(lambda: times.pop(0))
    assert clock.now() == NOON + timedelta(days=1)
    assert clock.trusted(1e6) == 60
    assert clock.trusted(1) == 1


async def test_a_real_clock_that_is_put_forward_fires_what_is_due(monkeypatch):
    monkeypatch.setattr(wall, "LOOK_AGAIN", 0.01)
    now = [NOON]
    ran = trio.Event()

    async def run():
        ran.set()

    async with JobPool(clock=lambda: now[0]) as pool:
        timer = await pool.perform_at(time(13), run)
        await trio.sleep(0.03)
        assert timer.remaining() == 3600
        now[0] -= timedelta(hours=1)
        assert timer.remaining() == 7200
        await trio.sleep(0.03)
        assert not ran.is_set()
        now[0] += timedelta(hours=3)
        with trio.fail_after(5):
            await ran.wait()
        assert timer.remaining() == 0


async def test_without_a_clock_the_machines_is_read():
    before = datetime.now(UTC)
    assert before <= wall.WallClock().now() <= datetime.now(UTC)


@pytest.mark.parametrize(("shown", "error"), [(datetime(2024, 1, 1), ValueError), (0, TypeError)])  # noqa: DTZ001
async def test_a_clock_that_shows_no_aware_datetime_fails_the_entering(shown, error):
    with pytest.raises(error, match="clock must return an aware datetime, got"):
        async with JobPool(clock=lambda: shown):
            raise AssertionError("never entered")


async def test_times_of_day_are_meant_in_the_pools_time_zone_or_their_own(notes, autojump_clock):
    tokyo = ZoneInfo("Asia/Tokyo")
    async with JobPool(clock=noon, timezone="Europe/Berlin") as pool:
        assert (await pool.perform_at(time(14), notes.note, 1)).remaining() == 3600
        assert (await pool.perform_at(time(22, tzinfo=tokyo), notes.note, 1)).remaining() == 3600
    async with JobPool(clock=noon, timezone=tokyo) as pool:
        assert (await pool.perform_at(time(22), notes.note, 1)).remaining() == 3600


async def test_a_job_that_asks_again_for_its_own_time_runs_once_a_day(autojump_clock):
    runs = []

    async def daily():
        runs.append(trio.current_time())
        await pool.perform_at(time(12), daily)

    async with JobPool(clock=noon) as pool:
        await pool.perform_at(time(12), daily)
        await trio.sleep(3.5 * 86_400)
    assert runs == [86_400 * day for day in (1, 2, 3)]


# -- against a model

DELAYS = st.integers(min_value=0, max_value=20)
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["set", "set many", "at", "cancel", "sleep"]), DELAYS), max_size=30
)


@given(ACTIONS, st.integers(min_value=0, max_value=20))
def test_every_timer_fires_once_in_order_or_was_cancelled_or_is_in_the_report(  # noqa: C901
    actions, rest
):
    fired = []
    pending = []  # of the model: when, number, how many calls, timer
    expected = []
    cancelled = set()

    async def note(number):
        fired.append((trio.current_time(), number))

    def forward():
        now = trio.current_time()
        due = sorted(entry[:3] for entry in pending if entry[0] <= now)
        expected.extend((at, number) for at, number, count in due for _ in range(count))
        pending[:] = [entry for entry in pending if entry[0] > now]

    async def main():
        numbers = itertools.count()
        async with JobPool(pool_size=1, queue=Queue(max=1), clock=noon) as pool:
            for what, delay in actions:
                due, number = trio.current_time() + delay, next(numbers)
                if what == "set":
                    timer = await pool.perform_after(delay, note, number)
                    pending.append((due, number, 1, timer))
                elif what == "set many":
                    timer = await pool.perform_many_after(delay, note, [number] * 3)
                    pending.append((due, number, 3, timer))
                elif what == "at":
                    when = NOON + timedelta(seconds=due)
                    pending.append((due, number, 1, await pool.perform_at(when, note, number)))
                elif what == "sleep":
                    await trio.sleep(delay)
                    await wait_all_tasks_blocked()
                    forward()
                elif pending:
                    due, number, _, timer = pending.pop(delay % len(pending))
                    left = await timer.cancel()
                    if left is None:
                        assert due <= trio.current_time()
                        pending.append((due, number, len(timer.calls), timer))
                    else:
                        assert left == due - trio.current_time()
                        cancelled.add(number)
                await wait_all_tasks_blocked()
                forward()
            await trio.sleep(rest)
            await wait_all_tasks_blocked()
            forward()
            assert len(pool.jobs().delayed) == len(pending)
        return pool

    pool = trio.run(main, clock=MockClock(autojump_threshold=0))
    assert [at for at, _ in fired] == sorted(at for at, _ in expected)
    assert sorted(fired) == sorted(expected)
    left = sorted(number for _, number, count, _ in pending for _ in range(count))
    assert sorted(call.args[0] for call in pool.report.abandoned) == left
    assert not cancelled & {number for _, number in fired}
    assert pool.report.completed == len(fired)
