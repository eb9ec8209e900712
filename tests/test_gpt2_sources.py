"""Documents from text, gzip, JSON lines, datasets and generators, and what is wrong with them."""

import gzip
import json
import sys
import types

import pytest

from commute_verify import CommuteError
from experiments.gpt2 import shards, sources
from experiments.gpt2.sources import File, HuggingFace, Synthetic
from experiments.gpt2.tokenizer import TokenizerSpec

PAGES = ["one\nline\n", "two\n\nparagraphs\n", "three — три\n"]


def written(path, content):
    raw = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def documents(path):
    return list(File(path).documents())


@pytest.mark.parametrize("name", ["pages.txt", "pages.txt.gz"])
def test_form_feeds_separate_documents(tmp_path, name):
    text = "".join(f"{page}\n\f\n" for page in PAGES)
    assert documents(written(tmp_path / name, text)) == PAGES


def test_blank_lines_separate_documents_where_there_is_no_form_feed(tmp_path):
    path = written(tmp_path / "plain.txt", "\n\none\nline\n\n  \ntwo\n\nthree\n")
    assert documents(path) == ["one\nline\n", "two\n", "three\n"]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_json_lines_give_their_field_text(tmp_path, name):
    rows = "".join(json.dumps({"url": "u", "text": page}) + "\n" for page in [*PAGES, "  "])
    assert documents(written(tmp_path / name, rows)) == PAGES


BAD = {
    "nothing but blanks": ("a.txt", " \n\n\f\n", "holds no document"),
    "not UTF-8": ("a.txt", "слово".encode("cp1251"), "not UTF-8"),
    "binary": ("a.txt", b"ab\0cd\n", "binary"),
    "a broken gzip": ("a.txt", gzip.compress(b"text\n" * 999)[:-9], "cut short"),
    "a row that is not JSON": ("a.jsonl", '{"text": "a"}\nbroken\n', "line 2"),
    "a row without text": ("a.jsonl", '{"body": "a"}\n', "line 1"),
    "a row whose text is a number": ("a.jsonl", '{"text": 3}\n', "expected a string"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_clear_error(tmp_path, case):
    name, content, message = BAD[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CommuteError, match=message) as caught:
        documents(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["en=synthetic"], "at least 2"),
        (["en=synthetic", "en=synthetic"], "twice"),
        (["en=synthetic", "synthetic"], "NAME=SOURCE"),
        (["en=synthetic", "../ru=synthetic"], "NAME=SOURCE"),
        (["en=synthetic", "ru=/no/such/file"], "not a file"),
        (["en=synthetic", "ru=hf:a/b/c/d"], "hf:"),
        (["en=synthetic", "ru=hf:"], "hf:"),
    ],
)
def test_a_bad_argument_is_one_clear_error(data, message):
    with pytest.raises(CommuteError, match=message):
        sources.parse(data)


def test_an_empty_file_is_refused_at_once(tmp_path):
    (tmp_path / "empty.txt").touch()
    with pytest.raises(CommuteError, match="is empty"):
        sources.parse(["en=synthetic", f"ru={tmp_path / 'empty.txt'}"])


def test_arguments_name_their_sources(tmp_path):
    path = written(tmp_path / "a.txt", "text\n")
    found = sources.parse([f"a={path}", "b=synthetic", "c=hf:allenai/c4/en", "d=hf:x", "e=synthetic"], seed=4)
    assert list(found) == ["a", "b", "c", "d", "e"]
    assert found["a"] == File(path)
    assert (found["c"], found["d"]) == (HuggingFace("allenai/c4", "en"), HuggingFace("x", None))
    assert isinstance(found["b"], Synthetic)
    assert [found[name].language.index for name in "be"] == [0, 1]
    assert {found[name].language.seed for name in "be"} == {4}


def test_an_identity_follows_the_content_and_not_the_place(tmp_path):
    (tmp_path / "other").mkdir()
    first, second = written(tmp_path / "a.txt", "x" * 10), written(tmp_path / "other" / "a.txt", "x" * 10)
    assert File(first).identity() == File(second).identity()
    written(second, "x" * 9 + "y")
    assert File(first).identity() != File(second).identity()


def test_an_identity_follows_the_middle_of_a_large_file_and_not_its_name(tmp_path):
    size = 3 << 20
    first = File(written(tmp_path / "a.txt", "x" * size))
    assert first.identity() == File(written(tmp_path / "b.txt", "x" * size)).identity()
    middle = "x" * (size // 2) + "y" + "x" * (size // 2 - 1)
    changed = File(written(tmp_path / "a.txt", middle))
    assert changed.identity() != File(tmp_path / "b.txt").identity()
    assert File(written(tmp_path / "a.jsonl", middle)).identity() != changed.identity()


def test_shards_of_the_older_identity_are_known_again(tmp_path):
    def build(name):
        held = {"en": File(tmp_path / name), "ru": File(tmp_path / name)}
        return shards.build(tmp_path / "shards", held, TokenizerSpec(300), validation_share=0.2)

    written(tmp_path / "a.txt", "\f".join(f"text number {n} of some" for n in range(30)))
    (tmp_path / "b.txt").write_bytes((tmp_path / "a.txt").read_bytes())
    made = build("a.txt")
    assert build("b.txt").key == made.key
    meta = made.meta | {"key": "older"}
    old = File(tmp_path / "a.txt").ends()
    assert set(old) == {"kind", "name", "bytes", "sha256_of_ends"}
    meta["settings"] = meta["settings"] | {"sources": {"en": old, "ru": old}}
    (tmp_path / "shards" / "shards.json").write_text(json.dumps(meta))
    assert build("a.txt").key == "older"
    written(tmp_path / "a.txt", "\f".join(f"text number {n} of other" for n in range(30)))
    with pytest.raises(CommuteError, match="sources changed"):
        build("a.txt")


def test_a_dataset_is_streamed(monkeypatch):
    asked = []

    def load_dataset(*given, **options):
        asked.append((given, options))
        return iter([{"text": "a"}, {"text": " "}, {"text": "b"}])

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    assert list(HuggingFace("allenai/c4", "en").documents()) == ["a", "b"]
    assert asked == [(("allenai/c4", "en"), {"split": "train", "streaming": True})]


def test_a_dataset_that_cannot_be_opened_or_has_no_text_is_one_clear_error(monkeypatch):
    def broken(*given, **options):
        raise ValueError("no such dataset")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=broken))
    with pytest.raises(CommuteError, match="cannot open the dataset x"):
        list(HuggingFace("x", None).documents())
    wrong = types.SimpleNamespace(load_dataset=lambda *given, **options: [{"body": "a"}])
    monkeypatch.setitem(sys.modules, "datasets", wrong)
    with pytest.raises(CommuteError, match='expected "text"'):
        list(HuggingFace("x", None).documents())
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CommuteError, match="pip install datasets"):
        list(HuggingFace("x", None).documents())
