"""Domains' files: documents, windows, and every way in which a file is none."""

import gzip
import json

import pytest
import torch

from commute_verify.checkpoints import Bytes
from commute_verify.cli.domain_files import Cut, DomainFile
from commute_verify.errors import CommuteError


class Spaced(Bytes):
    """Bytes with a token between documents."""

    separator = 256


def documents(path):
    return list(DomainFile("en", path).documents())


def put(path, content):
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["en.txt", "en.txt.gz", "en", "wiki.en"])
def test_blank_lines_part_documents(tmp_path, name):
    assert documents(put(tmp_path / name, "one\ntwo\n\n \nthree\n\n\n")) == ["one\ntwo\n", "three\n"]


def test_form_feeds_part_documents_where_there_are_any(tmp_path):
    held = documents(put(tmp_path / "en.txt", "one\n\ntwo\n\fthree\n\n\f\ffour"))
    assert held == ["one\n\ntwo\n", "three\n\n", "four"]


@pytest.mark.parametrize("name", ["en.jsonl", "en.jsonl.gz", "en.json"])
def test_json_lines_give_their_text(tmp_path, name):
    lines = [json.dumps({"text": text, "url": "x"}) for text in ("one\n\none", " ", "zwei")]
    assert documents(put(tmp_path / name, "\n".join(lines) + "\n\n")) == ["one\n\none", "zwei"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("en.txt", b"", "is empty"),
        ("en.txt", b" \n \n", "holds no document"),
        ("en.txt", b"a\0b", "is binary"),
        ("en.txt", "schön".encode("latin-1"), r"is not UTF-8 \(byte 0xf6\)"),
        ("en.parquet", b"PAR1", r"of a format that is not read \(\.parquet\)"),
        (
            "en.jsonl",
            b'{"text": "a"}\n{"body": "b"}\n',
            r'en\.jsonl, line 2: give a JSON object with a field "text"',
        ),
        ("en.jsonl", b'{"text": 3}\n', 'line 1: "text" is 3, expected a string'),
        ("en.jsonl", b'{"text": "a', "line 1: give a JSON object"),
        ("en.jsonl", b'{"text": "a"}\n{"text": "\\ud83d"}\n', "line 2: .* half of a surrogate pair"),
        ("en.jsonl", b"[" * 100_000, "line 1: give a JSON object"),
        ("en.txt.gz", None, "is cut short or not gzip"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path, name, content, told):
    path = put(tmp_path / name, b"word " * 1000 if content is None else content)
    if content is None:
        path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CommuteError, match=told) as caught:
        documents(path)
    assert "\n" not in str(caught.value)


def test_a_whole_surrogate_pair_is_a_letter(tmp_path):
    assert documents(put(tmp_path / "en.jsonl", rb'{"text": "a\ud83d\ude00"}')) == ["a😀"]


def test_a_file_that_is_absent_is_named(tmp_path):
    with pytest.raises(CommuteError, match=r"domain 'en': .*nothing\.txt is not a file"):
        documents(tmp_path / "nothing.txt")


def test_windows_hold_the_text_once_in_an_order_drawn_from_the_seed(tmp_path):
    text = "\n\n".join(f"document {number:03}" for number in range(100))
    file = DomainFile("en", put(tmp_path / "en.txt", text))
    cut = Cut(16, 4, 1, 0)
    batches = cut.batches(file, Spaced(), 300)
    stream = [token for document in file.documents() for token in [*document.encode(), 256]]
    rows = [tuple(row.tolist()) for row in torch.cat(batches)]
    inside = [tuple(stream[start : start + 16]) for start in range(0, len(stream) - 15, 16)]
    assert batches[0].shape == (4, 16)
    assert batches[0].dtype == torch.int64
    assert len(rows) == len(inside) // 4 * 4
    assert set(rows) <= set(inside)
    assert len(set(rows)) == len(rows)
    assert rows != inside[: len(rows)]
    assert torch.equal(torch.stack(batches), torch.stack(cut.batches(file, Spaced(), 300)))
    assert not torch.equal(torch.stack(batches), torch.stack(Cut(16, 4, 1, 1).batches(file, Spaced(), 300)))


def test_no_more_is_read_than_is_asked(tmp_path):
    path = put(tmp_path / "en.txt", "\n\n".join(["x" * 1023] * 3000))
    batches = Cut(1024, 1, 1, 0).batches(DomainFile("en", path), Bytes(), 256)
    assert len(batches) == 1024


@pytest.mark.parametrize(
    ("cut", "vocabulary", "told"),
    [
        (Cut(512, 1, 1, 0), 256, "gives 200 tokens, 0 windows of 512 for batches of 1"),
        (Cut(64, 8, 1, 0), 256, "gives 200 tokens, 3 windows of 64 for batches of 8"),
        (Cut(64, 1, 1, 0), 100, "the tokenizer gives token 120 and the model knows 100"),
    ],
)
def test_text_that_does_not_suffice_or_fit_is_refused(tmp_path, cut, vocabulary, told):
    with pytest.raises(CommuteError, match=told):
        cut.batches(DomainFile("en", put(tmp_path / "en.txt", "x" * 200)), Bytes(), vocabulary)
