from syncstructs.objects.batches import decode_groups
from syncstructs.objects.intake import Intake


def groups(payload):
    decoded = decode_groups(payload)
    return [(g.session, g.first_sequence, g.count, bytes(g.commands)) for g in decoded]


def test_groups_of_many_origins_share_an_entry():
    intake = Intake(1000)
    assert intake.offer(7, 1, 2, b"ab", last=0) is None
    assert intake.offer(8, 5, 1, b"c", last=4) is None
    intake.offer_system(b"x")
    assert groups(intake.take(1000)) == [(7, 1, 2, b"ab"), (8, 5, 1, b"c"), (0, 0, 1, b"x")]
    assert intake.take(1000) is None


def test_an_entry_has_no_more_than_some_thousands_of_calls_and_a_group_stays_whole():
    intake = Intake(100_000)
    for number in range(40):
        assert intake.offer(7, 1 + 256 * number, 256, b"x" * 256, last=0) is None
    intake.offer(8, 1, 5000, b"y" * 5000, last=0)
    intake.offer_system(b"z")
    intake._check()
    assert intake.entry_count(100_000) == 3
    assert intake.entry_count(1000) == intake.size_bytes // 1000
    taken = [[count for _, _, count, _ in groups(intake.take(100_000))] for _ in range(5)]
    assert taken == [[256] * 16, [256] * 16, [256] * 8, [5000], [1]]
    assert intake.take(100_000) is None
    intake._check()


def test_a_gap_is_refused_with_the_number_wanted():
    intake = Intake(1000)
    assert intake.offer(7, 3, 1, b"c", last=1) == 2
    assert intake.take(1000) is None


def test_a_duplicate_is_dropped_and_an_overlap_taken():
    intake = Intake(1000)
    intake.offer(7, 1, 2, b"ab", last=0)
    assert intake.offer(7, 1, 2, b"ab", last=0) is None
    assert intake.offer(7, 2, 2, b"bc", last=0) is None
    assert groups(intake.take(1000)) == [(7, 1, 2, b"ab"), (7, 2, 2, b"bc")]


def test_what_is_over_the_bound_is_to_be_sent_again():
    intake = Intake(10)
    assert intake.offer(7, 1, 1, b"x" * 100, last=0) is None
    assert intake.offer(7, 2, 1, b"y", last=0) == 2
    intake.take(1)
    assert intake.offer(7, 2, 1, b"y", last=0) is None
    intake._check()


def test_a_new_term_forgets_what_was_accepted():
    intake = Intake(1000)
    intake.offer(7, 1, 2, b"ab", last=0)
    intake.clear()
    assert intake.take(1000) is None
    assert intake.offer(7, 1, 2, b"ab", last=0) is None
    assert intake.take(1000) is not None
