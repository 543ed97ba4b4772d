"""Sessions and the throttle, each with a clock of its own."""

from __future__ import annotations

import pytest

from pipelet.web.auth import sessions as sessions_module
from pipelet.web.auth import throttle as throttle_module
from pipelet.web.auth.sessions import IDLE, LONGEST, Grant, Sessions
from pipelet.web.auth.throttle import ADDRESSES, FORGET, FREE, Throttle, TooSoon

GRANT = Grant("ada", "/data/.sqlstatus", b"digest", 1)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(clock)


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


# --- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_is_found_by_its_cookie_and_by_no_other(sessions: Sessions) -> None:
    session, cookie = sessions.open({"cmb": GRANT})
    assert sessions.find(cookie) is session
    assert session.grants == {"cmb": "ada"}
    for other in (None, "", cookie[:-1], cookie + "x", cookie.swapcase(), "\udcff"):
        assert sessions.find(other) is None


def test_ids_and_tokens_are_long_and_never_the_same(sessions: Sessions) -> None:
    opened = [sessions.open({"cmb": GRANT}) for _ in range(50)]
    words = {cookie for _, cookie in opened} | {session.token for session, _ in opened}
    assert len(words) == 100
    assert min(map(len, words)) >= 43


def test_the_cookie_itself_is_not_kept(sessions: Sessions) -> None:
    _, cookie = sessions.open({"cmb": GRANT})
    assert cookie not in repr(vars(sessions))
    assert cookie.encode() not in repr(vars(sessions)).encode()


def test_a_session_ends_when_it_is_not_used(sessions: Sessions, clock: Clock) -> None:
    _, cookie = sessions.open({"cmb": GRANT})
    for _ in range(3):
        clock.now += IDLE - 1
        assert sessions.find(cookie) is not None
    clock.now += IDLE + 1
    assert sessions.find(cookie) is None
    assert len(sessions) == 0


def test_a_session_ends_after_its_longest_time_however_it_is_used(sessions: Sessions, clock: Clock) -> None:
    _, cookie = sessions.open({"cmb": GRANT})
    begun = clock.now
    while clock.now + IDLE / 2 < begun + LONGEST:
        clock.now += IDLE / 2
        assert sessions.find(cookie) is not None
    clock.now = begun + LONGEST + 1
    assert sessions.find(cookie) is None


def test_a_session_ends_with_its_log_out(sessions: Sessions) -> None:
    _, cookie = sessions.open({"cmb": GRANT})
    _, other = sessions.open({"cmb": GRANT})
    sessions.close(cookie)
    sessions.close(cookie)
    assert sessions.find(cookie) is None
    assert sessions.find(other) is not None


def test_a_session_ends_with_its_last_pipeline(sessions: Sessions) -> None:
    session, cookie = sessions.open({"cmb": GRANT, "sky": GRANT})
    sessions.withdraw(session, "cmb", GRANT)
    assert sessions.find(cookie) is session
    assert session.grants == {"sky": "ada"}
    # what was granted anew meanwhile stays
    sessions.withdraw(session, "sky", GRANT._replace(level=2))
    assert session.grants == {"sky": "ada"}
    sessions.withdraw(session, "sky", GRANT)
    assert sessions.find(cookie) is None


def test_memory_is_bounded_and_the_least_used_goes(
    sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_module, "MOST", 3)
    cookies = []
    for _ in range(3):
        clock.now += 1
        cookies.append(sessions.open({"cmb": GRANT})[1])
    assert sessions.find(cookies[0]) is not None
    cookies.append(sessions.open({"cmb": GRANT})[1])
    assert [sessions.find(cookie) is not None for cookie in cookies] == [True, False, True, True]


def test_what_has_ended_is_forgotten_when_somebody_logs_in(sessions: Sessions, clock: Clock) -> None:
    for _ in range(5):
        sessions.open({"cmb": GRANT})
    clock.now += IDLE + 1
    sessions.open({"cmb": GRANT})
    assert len(sessions) == 1


# --- the throttle ----------------------------------------------------------------------------------------------------


def wait(throttle: Throttle, account: str, address: str) -> float:
    """How long an attempt would have to wait; one that has not is made, and fails."""
    try:
        throttle.begin(account, address)
    except TooSoon as error:
        return error.seconds
    return 0.0


def test_the_wait_doubles_up_to_the_cap(throttle: Throttle, clock: Clock) -> None:
    assert [wait(throttle, "ada", "a") for _ in range(FREE)] == [0.0] * FREE
    waits = []
    for _ in range(8):
        waits.append(wait(throttle, "ada", "a"))
        clock.now += waits[-1]
        assert wait(throttle, "ada", "a") == 0.0
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_who_does_not_wait_does_not_make_it_longer(throttle: Throttle, clock: Clock) -> None:
    for _ in range(FREE):
        wait(throttle, "ada", "a")
    for _ in range(1000):
        assert wait(throttle, "ada", "a") == 1.0
    clock.now += 1.0
    assert wait(throttle, "ada", "a") == 0.0


def test_attempts_at_the_same_time_count_before_they_end(throttle: Throttle) -> None:
    """A thousand at once must not all pass because none of them has failed yet."""
    passed = sum(wait(throttle, "ada", "a") == 0.0 for _ in range(1000))
    assert passed == FREE


def test_an_address_is_slowed_down_whatever_the_names(throttle: Throttle) -> None:
    assert [wait(throttle, f"user{number}", "a") > 0 for number in range(FREE + 1)] == [False] * FREE + [True]
    assert wait(throttle, "somebody", "b") == 0.0


def test_the_owner_gets_in_from_elsewhere_while_somebody_guesses(throttle: Throttle, clock: Clock) -> None:
    for _ in range(30):
        clock.now += wait(throttle, "ada", "guesser")
    assert wait(throttle, "ada", "guesser") > 0
    assert wait(throttle, "ada", "home") == 0.0
    throttle.succeeded("ada", "home")
    # and the guesser has won nothing by that
    assert wait(throttle, "ada", "guesser") > 0


def test_guesses_from_very_many_addresses_are_slowed_down_but_never_for_longer_than_the_cap(
    throttle: Throttle, clock: Clock
) -> None:
    for number in range(200):
        wait(throttle, "ada", f"10.0.0.{number}")
    refused = wait(throttle, "ada", "10.9.9.9")
    assert 0 < refused <= 30.0
    clock.now += refused
    assert wait(throttle, "ada", "10.9.9.9") == 0.0
    assert ADDRESSES < 200


def test_very_many_who_never_stop_do_not_keep_the_owner_from_where_she_was_before(
    throttle: Throttle, clock: Clock
) -> None:
    assert wait(throttle, "ada", "home") == 0.0
    throttle.succeeded("ada", "home")
    for _ in range(3):
        # Always somebody is faster: the account as a whole is never free.
        for number in range(200):
            wait(throttle, "ada", f"10.0.0.{number}")
        clock.now += 1.0
        assert wait(throttle, "ada", "elsewhere") > 0
    # She mistypes it, and gets in.
    assert wait(throttle, "ada", "home") == 0.0
    assert wait(throttle, "ada", "home") == 0.0
    throttle.succeeded("ada", "home")
    # From there, too, guesses are slowed down, and other accounts are no different.
    for _ in range(FREE):
        assert wait(throttle, "ada", "home") == 0.0
    assert wait(throttle, "ada", "home") > 0
    for number in range(200):
        wait(throttle, "bob", f"10.1.0.{number}")
    assert wait(throttle, "bob", "work") > 0


def test_who_has_an_account_and_sits_where_the_owner_does_gets_no_more_guesses(throttle: Throttle) -> None:
    wait(throttle, "ada", "office")
    throttle.succeeded("ada", "office")
    passed = 0
    for _ in range(50):
        passed += wait(throttle, "ada", "office") == 0.0
        if wait(throttle, "eve", "office") == 0.0:
            throttle.succeeded("eve", "office")
    assert passed == FREE


def test_places_of_owners_are_not_remembered_in_any_number(
    throttle: Throttle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle_module, "MOST", 5)
    for number in range(20):
        wait(throttle, f"user{number}", "a")
        throttle.succeeded(f"user{number}", "a")
        wait(throttle, "ada", f"b{number}")
        throttle.succeeded("ada", f"b{number}")
    assert len(throttle._proven) == 5
    assert max(map(len, throttle._proven.values())) == throttle_module._PROVEN


def test_one_network_of_ipv6_is_one_address(throttle: Throttle) -> None:
    waits = [wait(throttle, "ada", f"2001:db8:1:2::{number:x}") for number in range(FREE + 1)]
    assert waits[-1] > 0
    assert wait(throttle, "bob", "2001:db8:1:3::1") == 0.0


def test_an_ipv4_address_in_the_clothes_of_ipv6_is_the_same(throttle: Throttle) -> None:
    for _ in range(FREE):
        wait(throttle, "ada", "10.0.0.1")
    assert wait(throttle, "bob", "::ffff:10.0.0.1") > 0


def test_success_forgets_the_slips_of_its_address(throttle: Throttle) -> None:
    for _ in range(FREE):
        wait(throttle, "ada", "a")
        throttle.succeeded("ada", "a")
    assert len(throttle) == 0
    assert [wait(throttle, "ada", "a") for _ in range(FREE)] == [0.0] * FREE


def test_an_own_account_does_not_help_to_guess_another(throttle: Throttle) -> None:
    """Who logs in with an own password between two guesses starts anew as an address, not on the account."""
    refused = 0
    for _ in range(FREE + 2):
        if wait(throttle, "ada", "a"):
            refused += 1
        if not wait(throttle, "mallory", "a"):
            throttle.succeeded("mallory", "a")
    assert refused == 2


def test_all_is_forgotten_after_a_while(throttle: Throttle, clock: Clock) -> None:
    for _ in range(FREE):
        wait(throttle, "ada", "a")
    clock.now += FORGET + 1
    assert [wait(throttle, "ada", "a") for _ in range(FREE)] == [0.0] * FREE


def test_very_many_failures_are_no_trouble(throttle: Throttle, clock: Clock) -> None:
    for _ in range(3000):
        clock.now += 30.0
        assert wait(throttle, "ada", "a") == 0.0
    assert wait(throttle, "ada", "a") == 30.0


def test_the_memory_of_the_throttle_is_bounded(throttle: Throttle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle_module, "MOST", 10)
    for number in range(100):
        wait(throttle, f"user{number}" * 1000, f"10.0.{number}.1")
    assert len(throttle) == 20
    for number in range(100):
        wait(throttle, "ada", f"10.1.{number}.1")
    assert max(len(record.addresses) for record in throttle._accounts.values()) <= ADDRESSES
