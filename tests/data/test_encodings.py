"""Encodings: what is declared is believed, what is not is recognised and said, and nothing is damaged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebench.data.encodings import _SAMPLE, _is_plausible, _telling_part, decode, decode_all
from tunebench.errors import DataError

FRENCH = "text,label\nle café était déjà fermé,neg\nà bientôt garçon,pos\nun été très doux,pos\n"
TEXTS = {
    "cp1252": FRENCH,
    "cp1250": "Tento film byl špatný, herci hráli příšerně\n",
    "cp1251": "Это очень хороший фильм, мне понравилось\n",
    "koi8-r": "Ужасный сюжет, и очень скучно\n",
    "cp1253": "αυτή η ταινία ήταν πολύ καλή\n",
    "gb18030": "这部电影非常好看。剧情很无聊,不推荐。\n",
    "cp949": "이 영화는 정말 좋았다. 지루한 줄거리였다.\n",
    "utf-16-le": FRENCH,
    "utf-16-be": FRENCH,
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_encoding_is_recognised_and_said(encoding: str) -> None:
    found = decode(TEXTS[encoding].encode(encoding), "x.csv")
    assert found.text == TEXTS[encoding]
    assert found.note is not None and f"--set data.encoding={found.encoding}" in found.note


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_mark_is_believed_and_no_text(encoding: str) -> None:
    found = decode(FRENCH.encode(encoding), "x.csv")
    assert found.text == FRENCH and found.note is None


@given(st.text())
def test_utf8_is_never_taken_for_anything_else(text: str) -> None:
    raw = text.encode("utf-8", "replace")
    if raw.count(0) <= len(raw) // 4 and not raw.startswith(b"\xef\xbb\xbf"):
        assert decode(raw, "x").text == raw.decode() and decode(raw, "x").encoding == "utf-8"


@pytest.mark.parametrize("encoding", TEXTS)
def test_stated_encoding_is_used_without_a_note(encoding: str) -> None:
    found = decode(TEXTS[encoding].encode(encoding), "x.csv", encoding)
    assert found.text == TEXTS[encoding] and found.note is None


def test_stated_encoding_that_does_not_fit_names_the_place() -> None:
    with pytest.raises(DataError, match=r"stated encoding ascii \(line 2, byte offset 17\)"):
        decode(FRENCH.encode("cp1252"), "x.csv", "ascii")


def test_few_broken_lines_in_utf8_are_named_rather_than_read_otherwise() -> None:
    raw = FRENCH.encode() + "né,pos\n".encode("cp1252")
    with pytest.raises(DataError, match="1 of its 4 lines") as caught:
        decode(raw, "x.csv")
    assert "lines 5" in str(caught.value)


def test_short_files_are_recognised_together() -> None:
    texts = FRENCH.splitlines()
    found = decode_all([text.encode("cp1252") for text in texts], texts)
    assert [each.text for each in found] == texts
    assert [each.encoding for each in found] == ["utf-8", "cp1252", "cp1252", "cp1252"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("a" * (_SAMPLE // 2 - 1) + "\U0001f600 b", "utf-16-le"), ("a" + "\u65e5" * _SAMPLE, "shift_jis")],
    ids=["utf-16-le", "shift_jis"],
)
def test_a_sample_may_end_within_a_character(text: str, encoding: str) -> None:
    sample = _telling_part(text.encode(encoding))
    assert len(sample) == _SAMPLE and _is_plausible(sample, encoding)
    with pytest.raises(UnicodeDecodeError):
        sample.decode(encoding)


def test_what_nothing_fits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chardet.detect_all", lambda raw, **options: [{"encoding": None, "confidence": 0.0}])
    with pytest.raises(DataError, match="could not be recognised") as caught:
        decode(b"\xff\x81", "x.bin")
    assert "--set data.encoding=NAME" in str(caught.value)
