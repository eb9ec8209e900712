"""Shards: the documents come back, counts are exact, splits are by document, and half a build is none."""

import json
import shutil

import numpy as np
import pytest

from commute_verify import CommuteError
from experiments.gpt2 import shards, sources
from experiments.gpt2.shards import Shards
from experiments.gpt2.sources import File
from experiments.gpt2.tokenizer import Tokenizer, TokenizerSpec
from tests import gpt2_small as small

SPEC = TokenizerSpec(small.VOCABULARY)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return small.build(tmp_path_factory.mktemp("shards") / "shards")


def stream(folder, meta, domain, split):
    return np.fromfile(folder / f"{domain}.{split}.bin", meta["dtype"]).tolist()


def split_back(folder):
    """The documents of every domain and split, decoded from the files by the tokenizer alone."""
    meta = json.loads((folder / "shards.json").read_text())
    tokenizer = Tokenizer.load(folder / "tokenizer")
    found = {}
    for domain in meta["order"]:
        for split in ("train", "validation"):
            texts, held = [], []
            for token in stream(folder, meta, domain, split):
                if token == meta["separator"]:
                    texts.append(tokenizer.decode(held))
                    held = []
                else:
                    held.append(token)
            assert not held
            found[domain, split] = texts
    return found


def test_all_documents_come_back_each_in_one_split(built):
    found = split_back(built.folder)
    for domain, source in small.sources().items():
        train, validation = found[domain, "train"], found[domain, "validation"]
        assert sorted(train + validation) == sorted(source.documents())
        assert len(validation) == 12  # one of every five
        assert not set(train) & set(validation)


def test_counts_are_exact(built):
    found = split_back(built.folder)
    for (domain, split), texts in found.items():
        tokens = len(stream(built.folder, built.meta, domain, split))
        assert built.tokens(domain, split) == tokens
        assert built.documents(domain, split) == len(texts)
        assert built.bytes_per_token(domain, split) == sum(len(text.encode()) for text in texts) / tokens


def test_windows_cover_the_stream_and_share_one_token(built):
    tokens = stream(built.folder, built.meta, "en", "train")
    count = built.windows("en", "train", 16)
    assert count == (len(tokens) - 1) // 16
    for index in (0, 1, count - 1):
        assert built.window("en", "train", index, 16).tolist() == tokens[16 * index : 16 * index + 17]
    several = built.batch("en", "train", np.array([2, 0]), 16)
    assert several.tolist() == [tokens[32:49], tokens[:17]]


def test_the_same_sources_build_the_same_bytes_again(built, tmp_path):
    again = small.build(tmp_path / "shards")
    for path in sorted(built.folder.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (again.folder / path.relative_to(built.folder)).read_bytes()


def test_shards_are_built_once(built, monkeypatch):
    monkeypatch.setattr(shards, "_tokenised", None)
    assert small.build(built.folder).key == built.key


def test_shards_of_other_settings_are_refused_by_name(built):
    with pytest.raises(CommuteError, match=r"seed, sources changed|sources, seed changed"):
        small.build(built.folder, documents=61, seed=1)


def test_an_interrupted_build_leaves_nothing_that_passes_for_shards(tmp_path, monkeypatch):
    def stopped(*given):
        raise KeyboardInterrupt

    folder = tmp_path / "shards"
    with monkeypatch.context() as patch:
        patch.setattr(shards, "write", stopped)
        with pytest.raises(KeyboardInterrupt):
            small.build(folder)
    assert not folder.exists()
    (tmp_path / ".shards.partial-999999999").mkdir()  # as a kill leaves it
    small.build(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards.os, "fsync", full)
    with pytest.raises(CommuteError, match="No space left on device"):
        small.build(tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


def test_shards_that_lost_a_piece_are_refused(built, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(built.folder, folder)
    path = folder / "ru.train.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CommuteError, match=r"ru\.train\.bin holds"):
        Shards.open(folder)
    (folder / "shards.json").write_text("{")
    with pytest.raises(CommuteError, match="not JSON"):
        Shards.open(folder)
    with pytest.raises(CommuteError, match="holds no shards"):
        Shards.open(tmp_path)
    with pytest.raises(CommuteError, match="remove it"):
        small.build(tmp_path)


def test_limits_end_a_domain(tmp_path):
    few = small.build(tmp_path / "few", limit_documents=20)
    assert sum(few.documents("en", split) for split in ("train", "validation")) == 20
    bounded = small.build(tmp_path / "bounded", limit_bytes=3000)
    found = [
        text for (domain, _), texts in split_back(bounded.folder).items() if domain == "en" for text in texts
    ]
    size = sum(len(text.encode()) for text in found)
    assert 3000 <= size < 3000 + max(len(text.encode()) for text in found)


def test_a_domain_without_a_document_to_validate_on_is_refused(tmp_path):
    with pytest.raises(CommuteError, match="none for"):
        small.build(tmp_path / "shards", documents=1)


def test_a_domain_smaller_than_a_batch_is_refused_by_name(built):
    with pytest.raises(CommuteError, match=r"'ru' has \d+ train tokens, fewer than one batch"):
        built.check_training({"ru": 0.5}, batch=100_000, context=16)


def test_text_in_any_script_survives_the_tokenizer(tmp_path):
    texts = [
        "naïve — ‘quotes’, 日本語 🙂\n",
        "Съешь же ещё этих мягких французских булок\n",
        "tab\tand  spaces \n",
    ]
    (tmp_path / "a.txt").write_text("\f\n".join(texts), encoding="utf-8")
    tokenizer = Tokenizer.of(TokenizerSpec(300), {"a": File(tmp_path / "a.txt")})
    assert [tokenizer.decode(ids) for ids in tokenizer.encode(texts)] == texts
    assert tokenizer.vocabulary <= 300
    tokenizer.save(tmp_path / "saved")
    assert Tokenizer.load(tmp_path / "saved").encode(texts) == tokenizer.encode(texts)


def test_a_pretrained_tokenizer_is_taken_by_path(built, tmp_path):
    spec = TokenizerSpec(pretrained=str(built.tokenizer_folder))
    again = shards.build(tmp_path / "again", small.sources(), spec, validation_share=0.2)
    assert again.tokenizer_digest == built.tokenizer_digest
    assert split_back(again.folder) == split_back(built.folder)


def test_a_tokenizer_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(CommuteError, match="cannot load the tokenizer"):
        Tokenizer.load(tmp_path / "nothing")


@pytest.mark.parametrize("wrong", [{"vocabulary": 200}, {"sample_bytes": 0}])
def test_an_impossible_tokenizer_is_refused(wrong):
    with pytest.raises(CommuteError, match="give"):
        TokenizerSpec(**wrong)


def test_large_vocabularies_take_four_bytes_a_token(tmp_path, monkeypatch):
    tokenizer = Tokenizer.of(SPEC, small.sources())
    tokenizer.vocabulary = 70_000
    monkeypatch.setattr(Tokenizer, "of", lambda spec, sources: tokenizer)
    assert small.build(tmp_path / "shards").meta["dtype"] == "<u4"


def test_any_number_of_domains_goes(tmp_path):
    names = ("a", "b", "c")
    found = small.build(tmp_path / "shards", names=names)
    assert found.domains == names
    assert sources.parse([f"{name}=synthetic" for name in names]).keys() == set(names)
