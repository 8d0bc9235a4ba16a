"""Names of secrets are known and other names are left alone: corpora, precision and recall, and bounded work."""

from __future__ import annotations

import string
import unicodedata
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ascend_guard.redaction import secret_names as secret_names
from ascend_guard.redaction.secret_names import LONGEST, is_secret_name

FOLDER = Path(__file__).parent / "names"


def corpus(name: str) -> list[str]:
    """The names in a file: separated by spaces, without the lines that begin with #."""
    lines = (FOLDER / f"{name}.txt").read_text("utf-8").splitlines()
    names = [word for line in lines if not line.startswith("#") for word in line.split()]
    assert len(names) == len(set(names))
    return names


SECRET, INNOCENT = corpus("secret"), corpus("innocent")


def test_precision_and_recall(capsys: pytest.CaptureFixture[str]) -> None:
    """All names of the corpora are told apart, and most of those that were written before the rules."""
    scores = {}
    for prefix in ("", "held_out_"):
        secret, innocent = corpus(f"{prefix}secret"), corpus(f"{prefix}innocent")
        found = [name for name in secret if is_secret_name(name)]
        wrong = [name for name in innocent if is_secret_name(name)]
        recall, precision = len(found) / len(secret), len(found) / (len(found) + len(wrong))
        scores[prefix] = recall, precision
        with capsys.disabled():
            print(
                f"\n{prefix or 'corpus_'}names: {len(secret)} secret, {len(innocent)} innocent, "
                f"recall {recall:.3f}, precision {precision:.3f}, wrong {wrong}"
            )
    assert len(SECRET) >= 250
    assert len(INNOCENT) >= 450
    assert scores[""] == (1, 1)
    assert min(scores["held_out_"]) > 0.95


def test_the_lists_are_apart() -> None:
    """No name is secret and innocent."""
    assert set(SECRET).isdisjoint(INNOCENT)
    assert set(corpus("held_out_secret")).isdisjoint(corpus("held_out_innocent"))


@pytest.mark.parametrize("name", SECRET)
def test_secret_names_are_known(name: str) -> None:
    """Alone, and with the first letter in capitals."""
    assert is_secret_name(name)
    assert is_secret_name(name[0].upper() + name[1:]) or name == "sessionid"


@pytest.mark.parametrize("name", [*INNOCENT, ""])
def test_ordinary_names_are_not_secret(name: str) -> None:
    """Names that only look like secret ones stay readable."""
    assert not is_secret_name(name)


MADE = sorted({name for name in SECRET if name.isascii() and "_" in name and name == name.lower()})
"""Names of several words, which can be spelled in other ways."""


@given(
    st.sampled_from(MADE),
    st.sampled_from(["camel", "Pascal", "UPPER", "kebab", "dotted", "digits", "old", "wide"]),
)
def test_every_spelling_of_a_name_is_the_same_name(name: str, spelling: str) -> None:
    """Capitals, separators, digits at the end, a word before, full-width letters."""
    words = name.split("_")
    spelled = {
        "camel": words[0] + "".join(map(str.capitalize, words[1:])),
        "Pascal": "".join(map(str.capitalize, words)),
        "UPPER": name.upper(),
        "kebab": "-".join(words),
        "dotted": ".".join(words),
        "digits": f"{name}_2",
        "old": f"old_{name}",
        "wide": "".join(chr(ord(sign) + 0xFEE0) if sign.isalnum() else sign for sign in name),
    }[spelling]
    # Digits are letters of camel case to nobody: "2fa".
    assume(not name[0].isdigit() or spelling not in ("camel", "Pascal"))
    assert is_secret_name(spelled), spelled


_LETTERS = st.text(string.ascii_letters + string.digits + "_-. éа密", max_size=100)


@given(
    _LETTERS,
    _LETTERS,
    st.sampled_from(["password", "PassWord", "apiKey", "credential", "ｐasswd", "passwоrd"]),
)
def test_a_secret_word_is_found_in_a_name_of_many_words(before: str, after: str, word: str) -> None:
    """Wherever it stands, unless the whole name is short and tells about it."""
    name = f"a_b_c_d_e_{before}_{word}_{after}"
    assert is_secret_name(name)


@given(st.text(max_size=300))
def test_any_text_can_be_a_name(name: str) -> None:
    """Twice asked, the answer is the same, and normal forms are asked alike."""
    answer = is_secret_name(name)
    secret_names._MEMO.clear()
    assert is_secret_name(name) == answer
    assert is_secret_name(f"my_{name}_password")


@given(st.text(max_size=120).map(lambda name: unicodedata.normalize("NFKC", name)))
def test_normal_forms_make_no_difference(name: str) -> None:
    """A name that is composed otherwise is the same name."""
    assert is_secret_name(name) == is_secret_name(
        unicodedata.normalize("NFC", unicodedata.normalize("NFD", name))
    )


@pytest.mark.parametrize(
    "pattern", ["token_", "x", "pass", "aB", "_", "密", "ﷺ", "tokencount", "a1", "db", "É"]
)
def test_what_is_longer_than_a_name_is_secret(pattern: str) -> None:
    """Padding hides no word, and nothing of it is read: a key of a million characters takes no longer than one of 257."""

    class Unread(str):
        """Text that fails when anything but its length and its hash is asked for."""

        __slots__ = ()

        def __getattribute__(self, name: str) -> object:
            raise AssertionError(name)

    for size in (LONGEST + 1, 1_000_000):
        long = Unread((pattern * size)[:size])
        assert is_secret_name(long)
    assert is_secret_name(pattern * 10 + "_password_" + pattern * 20)


def test_the_work_is_linear_in_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the words, twice the look-ups, of the names that took quadratic time."""
    looked = 0

    class Counting(frozenset[str]):
        def __contains__(self, item: object) -> bool:
            nonlocal looked
            looked += 1
            return super().__contains__(item)

    monkeypatch.setattr(secret_names, "_SECRET", Counting(secret_names._SECRET))
    monkeypatch.setattr(secret_names, "_PHRASES", Counting(secret_names._PHRASES))
    asked = []
    for many in (500, 1000, 2000):
        looked = 0
        secret_names._has_secret([*["token"] * many, "count"])
        asked.append(looked)
    assert asked[1] <= 2 * asked[0] + 8
    assert asked[2] <= 2 * asked[1] + 8


def test_the_memory_of_names_is_bounded() -> None:
    """Neither many nor long names stay."""
    for index in range(10_000):
        is_secret_name(f"name{index}")
    is_secret_name("x" * 1_000_000)
    is_secret_name("x" * 200)
    assert len(secret_names._MEMO) <= 4096
    assert max(map(len, secret_names._MEMO)) <= 128
