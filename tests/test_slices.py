"""How many jobs run between two looks at the clock."""

from hypothesis import assume, example, given
from hypothesis import strategies as st

from poolder_trio.policies.slices import SLICES, Slice, next_stride

strides = st.integers(1, 32)
counts = st.integers(1, 10**6)
times = st.floats(0, 60)


def test_a_slice_is_what_the_docs_of_a_worker_say():
    assert SLICES == {"low": 0.0, "normal": 0.001, "high": 0.005, "max": 0.050}


@given(strides, counts, times, times)
@example(1, 1, 5e-324, 0.001)
@example(1, 1, -1.0, 0.001)
def test_a_stride_is_from_1_to_32_and_at_most_twice_the_last(stride, done, spent, left):
    result = next_stride(stride, done, spent, left)
    assert isinstance(result, int)
    assert 1 <= result <= min(32, 2 * stride)


@given(strides, counts, st.floats(1e-9, 60), times)
def test_a_stride_is_expected_to_end_within_the_slice(stride, done, spent, left):
    result = next_stride(stride, done, spent, left)
    assume(result > 1)
    assert result * (spent / done) <= left * (1 + 1e-9)


def test_strides_double_while_jobs_are_short():
    strides = [1]
    for _ in range(7):
        strides.append(next_stride(strides[-1], 1000, 1e-6, 1.0))
    assert strides == [1, 2, 4, 8, 16, 32, 32, 32]


def test_a_clock_that_has_not_moved_yet_is_no_reason_to_stop():
    assert next_stride(4, 4, 0.0, 0.001) == 8


def test_long_jobs_run_one_at_a_time():
    assert next_stride(32, 10, 0.010, 0.0009) == 1


@given(st.sampled_from([0.001, 0.005, 0.050]), st.floats(1e-7, 0.1))
def test_jobs_of_one_length_overrun_a_slice_by_less_than_one_of_them(share, length):
    stride = done = 1
    spent = length
    while spent < share:
        stride = next_stride(stride, done, spent, share - spent)
        done += stride
        spent = done * length
    assert spent - share <= length * (1 + 1e-9)


@given(st.sampled_from([0.0, 0.001, 0.005, 0.050]), st.floats(1e-7, 0.1), st.floats(0, 1e6))
def test_a_slice_is_over_when_its_length_has_passed_and_no_earlier(length, job, now):
    share, begun, stride = Slice(now, length), now, 1
    while True:
        now += stride * job
        stride, spent = share.next_stride(stride, now), now - begun
        assert bool(stride) == (spent < length)
        if not stride:
            return
