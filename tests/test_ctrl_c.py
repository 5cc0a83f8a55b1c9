"""Ctrl-C finds user code interruptible and the library's own steps whole."""

import signal

import pytest
import trio
from trio.lowlevel import currently_ki_protected

from poolder_trio import Emit, Instrument, Pool, Retry, Worker

pytestmark = pytest.mark.usefixtures("own_sigint")


async def test_no_user_code_runs_under_protection_from_ctrl_c(  # noqa: C901  # all the hooks
    autojump_clock,
):
    protected = {}

    def note(where):
        protected[where] = currently_ki_protected() or protected.get(where, False)

    class Watching(Instrument):
        def job_submitted(self, source, job):
            note("job_submitted")

        def job_started(self, source, job, worker):
            note("job_started")

        def job_done(self, source, job):
            note("job_done")

        def job_dropped(self, source, job, reason):
            note("job_dropped")

        def worker_started(self, source, worker):
            note("worker_started")

    def backoff(attempt):
        note("backoff")
        return 1.0

    class Noting(Worker):
        retry = Retry(attempts=2, backoff=backoff)
        callbacks = {"note": note}
        hibernate_after = 5

        async def handle_init(self):
            note("handle_init")

        async def handle_job(self, job):
            note("handle_job")
            if job == "fail" and not hasattr(self, "failed"):
                self.failed = True
                raise ValueError
            return Emit("note", "callback")

        async def handle_call(self, request):
            note("handle_call")

        async def handle_error(self, job, attempt, error):
            note("handle_error")

        async def handle_hibernate(self):
            note("handle_hibernate")

        async def handle_stop(self):
            note("handle_stop")

    class Picking:
        def pick(self, key, now, loads):
            note("pick")
            return 0

    def key(job):
        note("key")
        return job

    for instruments in ([], [Watching()]):
        pool = Pool(
            Noting, pool_size=2, mode=Picking(), key=key, instruments=instruments, dynamic=True
        )
        async with pool:
            await pool.cast(1)
            await pool.call(1)
            await pool.cast("fail")
            await pool.cast_many([1, 2])
            pool.pause()
            pool.cast_nowait(3)
            await pool[1].cast(4)
            await pool.stop_child()  # 4 moves
            pool.resume()
            await trio.sleep(10)
            pool.pause()
            pool.cast_nowait(5)
            pool.cancel()
    assert len(protected) == 15
    assert not any(protected.values()), protected


@pytest.mark.parametrize("kind", ["cast", "call"])
def test_ctrl_c_in_a_handler_leaves_the_block_with_the_accounts_in_order(kind):
    pools = []

    class Interrupted(Worker):
        async def handle_job(self, job):
            if job == 3:
                signal.raise_signal(signal.SIGINT)
            await trio.lowlevel.checkpoint()

    async def main():
        pools.append(Pool(Interrupted, pool_size=1))
        async with pools[0] as pool:
            if kind == "cast":
                await pool.cast_many(range(6))
                await trio.sleep_forever()
            for number in range(6):
                await pool.call(number)

    with pytest.raises(BaseException) as caught:  # noqa: PT011  # a group on the way
        trio.run(main)
    assert caught.group_contains(KeyboardInterrupt)
    report = pools[0].report
    assert (report.completed, report.cancelled) == (3, 1)
    assert report.abandoned == ((4, 5) if kind == "cast" else ())
    stats = pools[0].statistics()
    assert stats.running == stats.waiting == 0


# Ctrl-C may hit the body between the making of a coroutine and its first step.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_ctrl_c_during_a_flood_of_jobs_loses_none():
    """It comes at moments that no test chooses: whatever was accepted is in the report once."""
    for delay in range(8):
        done = []

        class Quick(Worker):
            async def handle_job(self, job):
                done.append(job)  # noqa: B023

        pool = Pool(Quick, pool_size=3)
        accepted = []

        async def main():
            async with pool:  # noqa: B023
                signal.setitimer(signal.ITIMER_REAL, 0.01 + delay / 500)  # noqa: B023
                for number in range(10**7):
                    await pool.cast(number)  # noqa: B023
                    accepted.append(number)  # noqa: B023

        previous = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        try:
            with pytest.raises(BaseException) as caught:  # noqa: PT011
                trio.run(main)
        finally:
            signal.signal(signal.SIGALRM, previous)
        assert caught.group_contains(KeyboardInterrupt) or isinstance(
            caught.value, KeyboardInterrupt
        )
        report = pool.report
        total = report.completed + report.cancelled + len(report.abandoned)
        assert len(accepted) <= total <= len(accepted) + 1
        assert report.completed <= len(done) <= report.completed + report.cancelled
