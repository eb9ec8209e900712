"""Synthetic languages: seeded, alike in part and different in part."""

from collections import Counter, defaultdict
from itertools import islice, pairwise

import pytest

from commute_verify import CommuteError
from experiments.gpt2.languages import Language


def documents(language, count=100):
    return list(islice(language.documents(), count))


def words(language):
    return Counter(" ".join(documents(language)).replace(".", "").split())


def test_the_same_language_gives_the_same_documents():
    assert documents(Language(0, seed=5)) == documents(Language(0, seed=5))
    assert documents(Language(0, seed=5)) != documents(Language(0, seed=6))


def test_later_documents_do_not_depend_on_how_many_are_taken():
    assert documents(Language(1), 130)[:70] == documents(Language(1), 70)


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (1, 5)])
def test_two_languages_share_words_and_have_words_of_their_own(pair):
    first, second = (words(Language(index)) for index in pair)
    common = set(first) & set(second)
    assert 0.15 < len(common) / len(first) < 0.5
    assert 0.1 < sum(first[word] for word in common) / first.total() < 0.6


def test_languages_that_share_no_word_have_none_in_common_but_by_chance():
    first, second = (set(words(Language(index, shared=0.0))) for index in (0, 1))
    assert len(first & second) < 0.1 * len(first)


def test_words_follow_one_another_by_a_grammar():
    followers = defaultdict(Counter)
    for document in documents(Language(0)):
        text = document.replace(".", "").split()
        for word, follower in pairwise(text):
            followers[word][follower] += 1
    assert max(len(found) for found in followers.values()) <= 8
    assert min(len(found) for found in followers.values()) >= 1


@pytest.mark.parametrize(
    "wrong", [{"index": -1}, {"index": 0, "shared": 1.5}, {"index": 0, "words": 3}, {"index": 0, "length": 0}]
)
def test_impossible_languages_are_refused(wrong):
    with pytest.raises(CommuteError, match="give"):
        Language(**wrong)
