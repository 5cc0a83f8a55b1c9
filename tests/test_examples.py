"""The short examples, each in a process of its own: they end, and do what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = pytest.mark.server


def printed_by(name: str) -> str:
    """What an example prints, when it has ended as it should."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


@pytest.mark.slow
def test_fetch_many_gets_every_page_though_some_requests_are_refused_and_keeps_the_rate():
    said = re.fullmatch(
        r"(\d+) pages, (\d+) bytes, (\d+) requests, (\d+) a second\n", printed_by("fetch_many.py")
    )
    assert said is not None
    pages, size, requests, rate = map(int, said.groups())
    assert pages == 150
    assert size == sum(len(f"<h1>Article /{number}</h1>") for number in range(150))
    # The 150th success: every tenth request was refused.
    assert requests == 166
    assert rate <= 101


@pytest.mark.slow
def test_cpu_map_counts_the_same_primes_with_one_process_and_with_many():
    one, many, ratio = printed_by("cpu_map.py").splitlines()
    below = 300_000
    sieve = bytearray([0, 0]) + bytearray([1]) * (below - 2)
    for number in range(2, int(below**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, below, number)))
    assert one == f"{sum(sieve)} primes below {below}, counted by 1 process"
    assert re.fullmatch(rf"{sum(sieve)} primes below {below}, counted by \d+ processes", many)
    # How much faster depends on the machine, and on what else it has to do.
    assert re.fullmatch(r"\d+ processes were \d+\.\d\d times as fast as 1", ratio)


@pytest.mark.slow
def test_delayed_jobs_run_when_they_are_due_and_not_when_they_were_cancelled():
    *said, report = printed_by("delayed_jobs.py").splitlines()
    times, texts = zip(*(line.split(" s: ") for line in said), strict=True)
    assert [re.sub(r"\d\.\d", "…", text) for text in texts] == [
        "Ada, your order has arrived",
        "Grace, the sale begins",
        "a reminder was cancelled, … s early",
        "Ada, your basket is waiting",
        "1 timer is left, which holds up nothing",
    ]
    for time, due in zip(map(float, times), [0.0, 0.5, 0.8, 1.0, 1.3], strict=True):
        assert time >= due
    assert report == "3 reminders were sent, 1 abandoned"


@pytest.mark.slow
def test_request_batching_gives_each_caller_its_own_answer_by_few_calls_of_the_model():
    said = re.fullmatch(
        r"500 of 500 callers got their own answer, by (\d+) calls of the model\n",
        printed_by("request_batching.py"),
    )
    assert said is not None
    # 16 full batches take all; how many are not full depends on when callers come.
    assert 16 <= int(said[1]) <= 250


def test_chat_room_tells_all_in_the_room_and_says_who_left():
    assert printed_by("chat_room.py") == (
        "<WorkerRef chat/tea room[1], ended> has left: exit\n"
        "ada heard ['hello ada', 'bye, bob', 'hello again']\n"
        "said most: [('hello', 2)], in the room: 1\n"
    )


def test_maintenance_runs_by_the_clocks_of_each_site_on_the_night_they_change_too():
    assert printed_by("maintenance.py").splitlines() == [
        "Sat 30 Mar 02:30 backed up paris",
        "new york, try 1: no space left",
        "Sat 30 Mar 02:40 backed up new york",
        "Sun 31 Mar 03:00 backed up paris",
        "Sun 31 Mar 02:30 backed up new york",
        "Mon 01 Apr 02:30 backed up paris",
        "Mon 01 Apr 02:30 backed up new york",
        "Mon 01 Apr 09:00 6 runs so far",
        "Tue 02 Apr 02:30 backed up paris",
        "Tue 02 Apr 02:30 backed up new york",
    ]


@pytest.mark.slow
def test_counter_server_counts_what_it_answers_and_refuses_the_rest():
    answers, state = printed_by("counter_server.py").splitlines()
    said = re.fullmatch(r"(\d+) answered, (\d+) refused, (\d+) different sums", answers)
    assert said is not None
    answered, refused, different = map(int, said.groups())
    assert answered + refused == 500
    assert answered == different
    assert refused > 0
    assert state == f"the state is {answered}, the greatest answer was {answered}"


def test_program_ends_by_itself_and_nothing_is_lost_on_the_way_through_its_components():
    *stored, store, clerks, shop = printed_by("program.py").splitlines()
    assert stored == ["10 rows stored", "10 rows stored", "5 rows stored"]
    assert (store, clerks, shop) == ("Store: 25 done", "Clerks: 25 done", "Shop: 25 done")
