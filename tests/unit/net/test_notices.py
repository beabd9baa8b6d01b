"""What is logged of others: each thing once, so much of each stranger, and of members always."""

import logging

from syncstructs.net.notices import _HOST_COUNT, _NOTICES_PER_SOURCE, Notices

WARNING = logging.WARNING


def notices(caplog):
    caplog.set_level(logging.DEBUG)
    return Notices(logging.getLogger("told"))


def test_a_sentence_is_logged_once_until_its_source_is_forgotten(caplog):
    told = notices(caplog)
    for _ in range(3):
        told.once("a:1", WARNING, "it fails", member=True)
        told.once("b:1", WARNING, "it fails", member=True)
    assert caplog.messages == ["it fails"] * 2
    told.forget("a:1")
    told.once("a:1", WARNING, "it fails", member=True)
    told.once("b:1", WARNING, "it fails", member=True)
    assert len(caplog.messages) == 3
    told._check()


def test_the_last_line_of_a_source_says_that_there_may_be_more(caplog):
    told = notices(caplog)
    for number in range(100):
        told.once("host 1.2.3.4", WARNING, f"fault {number}", member=False)
    assert len(caplog.messages) == _NOTICES_PER_SOURCE
    assert [m for m in caplog.messages if "more of host 1.2.3.4 is not logged" in m] == [
        caplog.messages[-1]
    ]
    told._check()


def test_strangers_of_any_number_of_hosts_are_bounded_and_hush_no_member(caplog):
    told = notices(caplog)
    for number in range(2000):
        for fault in range(20):
            told.once(f"host {number}", WARNING, f"fault {fault}", member=False)
    told._check()
    assert len(caplog.messages) == _HOST_COUNT * _NOTICES_PER_SOURCE + 1
    assert sum("of others, nothing is logged" in m for m in caplog.messages) == 1
    for number in range(300):
        told.once(f"a:{number}", WARNING, "it fails", member=True)
    assert caplog.messages.count("it fails") == 300
    told._check()
