"""The short examples, each in a process of its own: they end, and do what they say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
NAMES = {path.name for path in EXAMPLES.iterdir() if path.is_file()}

pytestmark = pytest.mark.server


def printed_by(name: str, logged: str = "") -> str:
    """What an example prints, when it has ended as it should, and logged nothing else."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, re.sub(logged, "", ran.stderr)) == (0, "")
    return ran.stdout


def test_every_short_example_is_under_sixty_lines():
    for name in NAMES - {"archive_site.py", "archive_site_parts.py"}:
        assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) < 60, name


def test_every_example_is_run_by_a_test():
    run = set(re.findall(r"printed_by\(\"(\w+\.py)\"", Path(__file__).read_text(encoding="utf-8")))
    run |= {
        path.name.removeprefix("test_example_") for path in ROOT.glob("tests/test_example_*.py")
    }
    run.add("archive_site_parts.py")  # which archive_site.py imports
    assert run == NAMES


def test_the_readme_links_to_every_example_and_the_guide_to_those_that_move_here():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(examples/([^)]+)\)", readme)) == NAMES
    guide = (ROOT / "docs" / "moving.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(\.\./examples/([^)]+)\)", guide))
    assert {name for name in NAMES if name.startswith("moving_from_")} <= linked <= NAMES


#: What a schedule of a hundredth of a second may say of a machine that is busy.
_LATE = r"component=Shop job=serve missed=.*\n"


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
    said = re.fullmatch(
        r"(\d+) answered, (\d+) refused, none after more than (\d\.\d\d) s", answers
    )
    assert said is not None
    answered, refused = int(said[1]), int(said[2])
    assert answered + refused == 500
    assert refused > 0
    # Ten wait at most while five are served, 20 ms each; all 500 in one line would take 2 s.
    assert float(said[3]) < 0.5
    assert state == f"the state is {answered}, {answered} different sums up to {answered}"


def test_program_ends_by_itself_and_nothing_is_lost_on_the_way_through_its_components():
    *stored, store, clerks, shop = printed_by("program.py", _LATE).splitlines()
    assert stored == ["10 rows stored", "10 rows stored", "5 rows stored"]
    assert (store, clerks, shop) == ("Store: 25 done", "Clerks: 25 done", "Shop: 25 done")


def test_supervised_connections_loses_no_request_of_a_server_that_hangs_up():
    answers, connections = printed_by("supervised_connections.py").splitlines()
    # To 0 the answer is 255, to 99 it is 156: a hundred of as many numbers, so each comes once.
    assert answers == "100 answers: 100 numbers, 156 to 255"
    said = re.fullmatch(r"(\d+) connections: 10, and one after each of (\d+) crashes", connections)
    assert said is not None
    opened, crashes = map(int, said.groups())
    assert opened == 10 + crashes
    # A connection that was cut had given 7 answers; the ten that were not gave 7 each at most.
    assert 7 * crashes <= 100 <= 7 * (crashes + 10)


def test_moving_from_nursery_fetches_the_same_pages_by_fewer_tasks():
    *ways, same = printed_by("moving_from_nursery.py").splitlines()
    form = re.compile(r"(\w+): (\d+) characters, (\d+) at once, (\d+) tasks")
    before, after = (said.groups() for said in map(form.fullmatch, ways) if said)
    size = str(sum(len(f"page {number}") for number in range(200)))
    assert before[:3] == ("before", size, "10")
    assert after[:3] == ("after", size, "10")
    assert int(before[3]) > 200
    assert int(after[3]) < 20
    assert same == "the same pages: True"


def test_moving_from_asyncio_queue_finds_the_same_prices_and_hears_of_the_one_that_fails():
    before, *log, after = printed_by("moving_from_asyncio_queue.py").splitlines()
    total = sum(1000 / (order - 13) for order in range(100) if order != 13)
    found = f"99 prices, {total:.2f} in all, 10 at once"
    assert before == f"before: {found}; 9 of 10 tasks left"
    assert after == f"after: {found}; 1 failed"
    assert "ZeroDivisionError: division by zero" in log


def test_moving_from_aiometer_keeps_the_same_limits_and_does_not_run_ahead_of_the_reader():
    form = re.compile(
        r"(\w+): (\d+) pages, (\d+) at once, 0\.1 s between starts, "
        r"(\d+) pages ahead of the reader"
    )
    said = map(form.fullmatch, printed_by("moving_from_aiometer.py").splitlines())
    before, after = (each.groups() for each in said if each)
    assert before[:3] == ("before", "60", "5")
    assert after[:3] == ("after", "60", "5")
    # Five fetch four pages in a second, while two are read: half of 60 have not been in the end.
    assert 25 <= int(before[3]) <= 35
    assert int(after[3]) <= 5


def test_moving_from_poolder_tries_again_as_the_handler_says_and_lets_a_worker_go():
    assert printed_by("moving_from_poolder.py").splitlines() == [
        "try 1: there is no hall",
        "try 2: there is no hall",
        "'hello' in the lobby after 5 s",
        "speakers: 1, in the lobby",
    ]


def test_moving_from_odd_job_performs_now_and_later_and_not_what_was_cancelled():
    assert printed_by("moving_from_odd_job.py").splitlines() == [
        "Mon 22:00:01 to ada: 3",
        "cancelled, 3540.0 s early",
        "Tue 03:00:00 to staff: tidy up",
        "work: 1 done, 0 abandoned",
        "email: 2 done, 0 abandoned",
    ]
