"""Sessions: nothing applied twice, nothing skipped, nothing late brings a session back."""

from hypothesis import given
from hypothesis import strategies as st

from syncstructs.objects.sessions import Sessions


def opened(sessions: Sessions, serial: int = 1, **change: object) -> int | None:
    fields: dict[str, object] = {"address": "a:1", "incarnation": 5, "attempt": 1, "ttl": 2.0}
    fields |= change
    return sessions.open(serial=serial, **fields)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 8))))
def test_whatever_is_sent_again_or_too_early_each_number_is_applied_once_and_in_order(
    runs: list[tuple[int, int]],
) -> None:
    sessions = Sessions()
    session = opened(sessions)
    assert session is not None
    applied: list[int] = []
    for first, count in runs:
        skip, take = sessions.accept(session, first, count)
        assert skip + take in (0, count)
        applied.extend(range(first + skip, first + skip + take))
        assert applied == list(range(1, len(applied) + 1))
        assert sessions.last(session) == len(applied)
        if first <= len(applied) + 1:
            assert len(applied) >= first + count - 1, "what follows without a gap is applied"
        sessions._check()


def test_calls_of_an_unknown_or_expired_session_are_dropped() -> None:
    sessions = Sessions()
    assert sessions.accept(9, 1, 3) == (0, 0)
    session = opened(sessions)
    assert session is not None
    assert sessions.accept(session, 1, 3) == (0, 3)
    assert sessions.expire(session)
    assert not sessions.expire(session)
    assert sessions.accept(session, 4, 1) == (0, 0)
    assert sessions.last(session) is None


def test_a_new_session_of_an_address_ends_the_older_one() -> None:
    sessions = Sessions()
    assert opened(sessions, serial=1) == 1
    assert sessions.of_address("a:1") == 1
    assert opened(sessions, serial=2, attempt=2) == 2
    assert sessions.live() == {2: ("a:1", 2.0)}
    assert opened(sessions, serial=3, incarnation=1) == 3, "a smaller incarnation may be newer"
    assert opened(sessions, serial=4, address="b:1") == 4
    assert sessions.live() == {3: ("a:1", 2.0), 4: ("b:1", 2.0)}
    sessions._check()


def test_a_late_duplicate_of_an_opening_never_reopens_even_after_expiry() -> None:
    sessions = Sessions()
    assert opened(sessions, serial=1, attempt=2) == 1
    assert opened(sessions, serial=2, attempt=2) is None
    assert sessions.last(1) == 0, "and the session in use goes on"
    sessions.expire(1)
    assert opened(sessions, serial=3, attempt=2) is None
    assert opened(sessions, serial=4, attempt=1) is None
    assert opened(sessions, serial=5, attempt=3) == 5


def test_a_late_duplicate_of_a_former_life_does_not_end_the_present_one() -> None:
    sessions = Sessions()
    assert opened(sessions, serial=1, incarnation=5, attempt=1) == 1
    assert opened(sessions, serial=2, incarnation=3, attempt=1) == 2
    assert opened(sessions, serial=3, incarnation=5, attempt=9) is None
    assert sessions.of_address("a:1") == 2


def test_only_the_very_attempt_that_opened_a_live_session_finds_it() -> None:
    sessions = Sessions()
    opened(sessions, serial=1, attempt=2)
    assert sessions.find("a:1", 5, 2) == 1
    assert sessions.find("a:1", 5, 1) is None
    assert sessions.find("a:1", 4, 2) is None
    assert sessions.find("b:1", 5, 2) is None
    assert (sessions.last_attempt("a:1", 5), sessions.last_attempt("a:1", 4)) == (2, 0)
    sessions.expire(1)
    assert sessions.find("a:1", 5, 2) is None
    assert sessions.last_attempt("a:1", 5) == 2


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.integers(1, 3)),
            st.tuples(st.integers(1, 20), st.integers(1, 5)),
            st.integers(1, 20),
        ),
        max_size=40,
    ),
    st.integers(0, 40),
)
def test_sessions_restored_from_their_state_go_on_as_the_original(
    actions: list[object], restore_at: int
) -> None:
    left, right = Sessions(), Sessions()
    for serial, action in enumerate(actions, 1):
        if serial == restore_at:
            state = left.state()
            left = Sessions()
            left.restore(state)
        answers = []
        for sessions in (left, right):
            if isinstance(action, int):
                answers.append(sessions.expire(action))
            elif len(action) == 2:  # type: ignore[arg-type]
                answers.append(sessions.accept(action[0], action[1], 2))  # type: ignore[index]
            else:
                answers.append(sessions.open(*action, 2.0, serial))  # type: ignore[misc]
            sessions._check()
        assert answers[0] == answers[1]
    assert left.state() == right.state()


def test_of_observers_only_those_that_went_last_are_remembered() -> None:
    sessions = Sessions()
    count = 1200
    for number in range(count):
        sessions.open(f"observer-{number:x}", 1, 1, 5.0, number + 1)
    sessions.open("a:1", 1, 1, 5.0, count + 1)
    live = 7
    for number in range(count):
        if number != live:
            sessions.expire(number + 1)
    sessions.expire(count + 1)
    sessions._check()
    restored = Sessions()
    restored.restore(sessions.state())
    for table in (sessions, restored):
        assert table.last_attempt("a:1", 1) == 1, "of a member for ever"
        assert table.of_address(f"observer-{live:x}") == live + 1
        known = [number for number in range(count) if table.last_attempt(f"observer-{number:x}", 1)]
        assert known == [live, *range(count - 1024, count)]
    # What the replicas forget next is the same, wherever their state came from.
    for table in (sessions, restored):
        table.expire(live + 1)
    assert sessions.state() == restored.state()
