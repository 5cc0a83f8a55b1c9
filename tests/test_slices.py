"""How many jobs run between two looks at the clock."""

from itertools import repeat

from hypothesis import example, given
from hypothesis import strategies as st

from poolder_trio.policies.slices import SLICES, Count, Pace

costs = st.floats(1e-7, 0.1)
lengths = st.sampled_from([0.0, 0.0001, 0.001, 0.005, 0.050])


def run(pace, jobs, length, begun=0.0):
    """Run jobs that take so many seconds each for one slice; return its strides, and the time."""
    now, strides = begun, []
    stride = pace.begin(now, length)
    while stride:
        for _ in range(stride):
            now += next(jobs)
        strides.append(stride)
        stride = pace.next_stride(stride, now)
    return strides, now - begun


def test_a_slice_is_what_the_docs_of_a_worker_say():
    assert SLICES == {"low": 0.0, "normal": 0.001, "high": 0.005, "max": 0.050}


@given(st.integers(1, 32), st.lists(st.floats(0, 60), min_size=1), st.floats(0, 1e6))
@example(1, [5e-324, 1e-300], 0.0)
def test_a_stride_is_from_1_to_32_and_at_most_twice_the_last(stride, times, begun):
    pace, now = Pace(), begun
    pace.begin(begun, 1e9)
    for time in times:
        now += time
        result = pace.next_stride(stride, now)
        assert isinstance(result, int)
        assert 1 <= result <= min(32, 2 * stride)
        stride = result


def test_a_clock_that_is_set_back_is_no_reason_to_stop():
    pace = Pace()
    pace.begin(1.0, 0.001)
    assert pace.next_stride(1, 0.5) in (1, 2)


def test_strides_double_while_jobs_cost_next_to_nothing():
    strides, _ = run(Pace(), repeat(1e-9), 1e-5)
    assert strides[:8] == [1, 2, 4, 8, 16, 32, 32, 32]


def test_a_clock_that_has_not_moved_yet_is_no_reason_to_stop():
    pace = Pace()
    pace.begin(5.0, 0.001)
    assert pace.next_stride(4, 5.0) == 8


@given(costs, lengths)
def test_jobs_of_one_length_overrun_a_slice_by_less_than_one_of_them(job, length):
    pace, begun = Pace(), 0.0
    for _ in range(3):
        _, spent = run(pace, repeat(job), length, begun)
        assert spent - length <= job * (1 + 1e-6)
        begun += spent


@given(lengths, costs, st.floats(0, 1e3))
def test_a_slice_is_over_when_its_length_has_passed_and_no_earlier(length, job, begun):
    pace, now = Pace(), begun
    stride = pace.begin(begun, length)
    while stride:
        now += stride * job
        stride = pace.next_stride(stride, now)
        assert bool(stride) == (now < begun + length)


def test_no_more_run_blindly_than_pay_for_a_look_at_the_clock():
    """A job of 20 µs costs a hundred times as much as the look after it."""
    strides, _ = run(Pace(), repeat(2e-5), 0.001)
    assert set(strides) == {1}
    strides, _ = run(Pace(), repeat(4e-6), 0.001)
    assert max(strides) == 8


@given(st.integers(1, 5000), st.sampled_from([3e-7, 5e-7, 1e-6, 5e-6]))
def test_after_cheap_jobs_one_stride_of_dear_ones_runs_blindly_and_then_one_at_a_time(many, cheap):
    """In whatever slice, and however much of it is left."""
    jobs = iter([cheap] * many + [0.005] * 200)
    pace = Pace()
    dear, blind = 0, 0
    while dear < 60:
        now, stride = 0.0, pace.begin(0.0, 0.050)
        while stride and dear < 60:
            costs = [next(jobs) for _ in range(stride)]
            now += sum(costs)
            met, dear = dear, dear + costs.count(0.005)
            if not met:
                blind = costs.count(0.005)
            else:
                assert stride == 1
            stride = pace.next_stride(stride, now)
    assert blind <= 32
    assert blind * cheap <= 32e-6 * (1 + 1e-6)


def test_dear_jobs_among_cheap_ones_are_expected_again():
    """Else each lot of cheap ones would be a reason to run the next dear ones blindly."""
    lot = [5e-7] * 100 + [0.005] * 20
    jobs = iter(lot * 50)
    pace = Pace()
    spent = [run(pace, jobs, 0.001)[1] for _ in range(200)]
    assert max(spent[2:]) <= 0.001 + 0.005


def test_what_was_dear_is_forgotten_in_time():
    pace = Pace()
    run(pace, repeat(0.005), 0.001)
    begun = 0.0
    for _ in range(3):
        strides, spent = run(pace, repeat(5e-7), 0.001, begun)
        begun += spent
    assert max(strides) == 32


def test_where_nothing_shows_that_time_passes_a_slice_of_no_length_is_one_job():
    pace = Pace()
    for _ in range(5):
        assert pace.begin(7.0, 0.0) == 1
        assert pace.next_stride(1, 7.0) == 0


# -- by counts


@given(lengths, st.lists(costs, min_size=1))
def test_where_time_is_virtual_a_slice_is_a_number_of_jobs_whatever_they_take(length, times):
    expected = max(1, round(length * 100_000))
    for job in times:
        strides, _ = run(Count(), repeat(job), length)
        assert sum(strides) == expected


def test_counts_by_hand():
    counts = {name: sum(run(Count(), repeat(0.0), length)[0]) for name, length in SLICES.items()}
    assert counts == {"low": 1, "normal": 100, "high": 500, "max": 5000}
