"""The journal: what was written is read, a torn end is dropped, anything else is found."""

import dataclasses

import pytest

from taran_eo import journal
from taran_eo.errors import CorruptDataError, OutputError
from taran_eo.journal import Finished, History, Input, Journal, Skipped

IDENTITY = {"model_digest": "00ff", "threshold": 0.5, "bands": None}
ONE = Finished("a", "in/a.jpg", Input(10, 2**60 + 1), {"a.product": "12"}, 4, 2, 100, 10)
TWO = Skipped("b", "in/b\u00e9\ufffd.jpg", "damaged. Copy it again.")


@pytest.fixture
def written(tmp_path):
    with Journal(tmp_path, IDENTITY) as book:
        book.finish(ONE)
        book.skip(TWO)
        book.finish(dataclasses.replace(ONE, name="c"))
    return tmp_path


def test_what_was_written_is_read(written):
    history = journal.read(written)
    assert history.identity == IDENTITY
    assert history.finished == {"a": ONE, "c": dataclasses.replace(ONE, name="c")}
    assert history.skipped == {"b": TWO}
    assert history.length == (written / journal.NAME).stat().st_size


def test_the_last_word_on_a_scene_counts(written):
    with Journal(written, IDENTITY) as book:
        book.skip(dataclasses.replace(TWO, name="a"))
        book.finish(dataclasses.replace(ONE, name="b"))
    history = journal.read(written)
    assert sorted(history.finished) == ["b", "c"]
    assert sorted(history.skipped) == ["a"]


def test_wherever_the_power_fails_the_complete_lines_count(written):
    path = written / journal.NAME
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        complete = sum(end <= cut for end in ends)
        history = journal.read(written)
        assert len(history.finished) + len(history.skipped) == max(complete - 1, 0)
        assert (history.identity is None) == (complete == 0)
    path.write_bytes(whole[:-5])
    with Journal(written, IDENTITY) as book:
        book.finish(dataclasses.replace(ONE, name="c"))
    assert path.read_bytes() == whole


def test_a_flipped_bit_is_found_wherever_it_is(written):
    path = written / journal.NAME
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1)
    for place in range(last):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CorruptDataError, match=r"Line \d of the journal .*journal.jsonl"):
            journal.read(written)


def test_results_of_different_runs_do_not_mix(written):
    with pytest.raises(OutputError, match=r"threshold was 0\.5 and is 0\.6") as caught:
        Journal(written, IDENTITY | {"threshold": 0.6})
    assert "another output folder" in caught.value.remedy


def test_a_folder_without_a_journal_has_no_history(tmp_path):
    assert journal.read(tmp_path) == History()
    assert journal.read(tmp_path / "nowhere") == History()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        Journal(tmp_path / "file", IDENTITY)


def test_a_full_disk_is_named(written):
    with Journal(written, IDENTITY) as book:
        book._file.close()
        book._file = open("/dev/full", "wb", buffering=0)  # noqa: PTH123 SIM115
        with pytest.raises(OutputError, match=r"journal\.jsonl cannot be written: No space left"):
            book.finish(ONE)
