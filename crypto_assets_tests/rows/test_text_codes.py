"""Codes of texts: equal for equal texts, however the column is cut."""

import uuid

import numpy as np
import pyarrow as pa
import pytest

from crypto_assets.rows.text_codes import text_codes


@pytest.mark.parametrize("texts", [[str(uuid.UUID(int=n)) for n in range(50_000)], [f"{n:x}" for n in range(5_000)]])
def test_different_texts_have_different_codes(texts: list[str]):
    codes = text_codes(pa.chunked_array([texts]))
    assert len(np.unique(codes)) == len(texts)


def test_equal_texts_have_equal_codes_wherever_they_stand():
    one, other = str(uuid.UUID(int=7)), str(uuid.UUID(int=8))
    codes = text_codes(pa.chunked_array([[one, other], [other, one, other]]).slice(1))
    assert codes[0] == codes[1] == codes[3] != codes[2]


def test_equal_texts_beside_shorter_ones_have_equal_codes():
    codes = text_codes(pa.chunked_array([["aaaa", "bbbb"], ["bbbb", "c"]]))
    assert codes[1] == codes[2]


def test_no_text_has_no_code():
    assert len(text_codes(pa.chunked_array([], pa.string()))) == 0
