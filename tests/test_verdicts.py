"""The words that handlers answer with."""

import math

import attrs
import pytest

from poolder_trio import HALT, RETRY, Backoff, Emit, Exit, Stop
from poolder_trio.verdicts import Directive, ErrorVerdict

DIRECTIVES = [Emit("saved", 1), Exit(), Stop()]


def test_retry_and_halt_are_two_verdicts_and_there_are_no_others():
    assert list(ErrorVerdict) == [RETRY, HALT]


@pytest.mark.parametrize("seconds", [0, 0.0, 1, 2.5, 1e9])
def test_backoff_takes_seconds(seconds):
    assert Backoff(seconds).seconds == seconds
    assert Backoff(seconds) == Backoff(seconds)


@pytest.mark.parametrize("seconds", [-1, -0.001, math.inf, -math.inf, math.nan])
def test_backoff_refuses_seconds_that_can_not_be_waited(seconds):
    with pytest.raises(ValueError, match=rf"seconds >= 0, got {seconds!r}$"):
        Backoff(seconds)


@pytest.mark.parametrize("seconds", [None, "1", True, RETRY])
def test_backoff_refuses_what_is_no_number(seconds):
    with pytest.raises(TypeError, match="a number of seconds, got "):
        Backoff(seconds)


def test_emit_holds_the_name_and_whatever_arguments_follow():
    assert Emit("saved").args == ()
    emitted = Emit("saved", 1, [2])
    assert (emitted.name, emitted.args) == ("saved", (1, [2]))
    assert emitted == Emit("saved", 1, [2])
    assert emitted != Emit("saved", 1)
    assert repr(emitted) == "Emit(name='saved', args=(1, [2]))"


@pytest.mark.parametrize("kind", [Exit, Stop])
def test_the_last_word_may_come_with_a_reply(kind):
    assert kind().reply is None
    assert kind("bye").reply == kind(reply="bye").reply == "bye"
    assert kind("bye") == kind("bye") != kind()


def test_exit_and_stop_are_not_the_same():
    assert Exit(1) != Stop(1)


@pytest.mark.parametrize("directive", DIRECTIVES)
def test_what_a_handler_returns_to_instruct_is_a_directive(directive):
    assert isinstance(directive, Directive)


@pytest.mark.parametrize("verdict", [RETRY, HALT, Backoff(1)])
def test_what_handle_error_returns_is_none(verdict):
    assert not isinstance(verdict, Directive)


@pytest.mark.parametrize("word", [*DIRECTIVES, Backoff(1)])
def test_words_do_not_change(word):
    field = attrs.fields(type(word))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(word, field, None)
