"""URLs that people write: what becomes of them, what is said of those that cannot be used, and what is never said."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from crypto_assets.errors import CryptoAssetsError
from crypto_assets.model import Outcome, Partition, Series, State
from crypto_assets.text.urls import http_url, is_loopback, lake_url, masked, masked_in, postgres_place, postgres_url

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "url", "place"),
    [
        ("postgresql://me@h/x", "postgresql://me@h/x", "h:5432/x"),
        ("postgres://me:pw@h:5433/x", "postgresql://me:pw@h:5433/x", "h:5433/x"),
        ("postgresql://me:a%40b%2F%20c@h/x", "postgresql://me:a%40b%2F%20c@h/x", "h:5432/x"),
        ("postgresql://me:a:b#c@h/x", "postgresql://me:a%3Ab%23c@h/x", "h:5432/x"),
        ("postgresql://h/x?sslmode=require", "postgresql://h/x?sslmode=require", "h:5432/x"),
        ("postgresql://h/x?ssl=true", "postgresql://h/x?sslmode=require", "h:5432/x"),
        ("postgresql:///x?host=/run/pg", "postgresql:///x?host=%2Frun%2Fpg", "the socket /run/pg, database x"),
        ("postgresql://me@%2Frun%2Fpg/x", "postgresql://me@/x?host=%2Frun%2Fpg", "the socket /run/pg, database x"),
        ("postgresql://[::1]:5433/x", "postgresql://[::1]:5433/x", "[::1]:5433/x"),
        ("postgresql://a:1,b:2/x", "postgresql:///x?host=a%2Cb&port=1%2C2", "a,b:1,2/x"),
        ("host=h user=me dbname=x", "postgresql://me@h/x", "h:5432/x"),
        (
            "host=/run/pg dbname=x password='a b@'",
            "postgresql://:a%20b%40@/x?host=%2Frun%2Fpg",
            "the socket /run/pg, database x",
        ),
    ],
)
def test_a_postgres_url_is_brought_to_one_form(text, url, place):
    assert postgres_url(text) == url
    assert postgres_url(url) == url
    assert postgres_place(url) == place


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("postgresql+psycopg2://me:hunter2@h/x", "leave out +psycopg2"),
        ("postgresql+psycopg://me:hunter2@h/x", "leave out +psycopg"),
        ("postgresql+asyncpg://me:hunter2@h/x", "leave out +asyncpg"),
        ("mysql://me:hunter2@h/x", "found the scheme 'mysql'"),
        ("jdbc:postgresql://h/x?user=me&password=hunter2", "found the scheme 'jdbc:postgresql'"),
        ("me:hunter2@h/x", "found a text without ://"),
        ("postgresql:/me:hunter2@h/x", "found a text without ://"),
        ("me:hunter2@h://x", "found another scheme"),
        ("postgresql://me:hunter2 @h/x", "a blank as %20"),
        ("postgresql://me:hunter2@x@h/x", "write @ as %40"),
        ("postgresql://me:hunter2/@h/x", "/ as %2F"),
        ("postgresql://me:hunter2%@h/x", "% as %25"),
        ("postgresql://me:hunter2@h/x\n", "found a control character"),
        ("postgresql://me:hunter2@h:port/x", "expected a port from 1 to 65535"),
        ("postgresql://me:hunter2@h:0/x", "expected a port from 1 to 65535"),
        ("postgresql://me:hunter2@h:99999/x", "expected a port from 1 to 65535"),
        ("postgresql://me:hunter2@::1:5432/x", "expected a port"),
        ("postgresql://me:hunter2@[::1/x", "write an IPv6 address in brackets"),
        ("postgresql://me:hunter2@h", "found no database"),
        ("postgresql://me:hunter2@h/", "found no database"),
        ("postgresql://me:hunter2@h/x/y", "expected one database"),
        ("postgresql://me:hunter2@h/x?pool_size=5", "found the option 'pool_size', which libpq does not have"),
        ("postgresql://me:hunter2@h/x?sslmode=on", "sslmode: expected one of disable, allow"),
        ("password=hunter2 hunter2", "found pairs that libpq cannot read"),
        ("host=h password=hunter2", "found no database"),
    ],
)
def test_a_postgres_url_that_cannot_be_used_is_refused_without_its_password(text, says):
    with pytest.raises(ValueError, match="expected") as caught:
        postgres_url(text)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
)
def test_any_user_and_password_of_pairs_arrive_at_libpq_as_they_were(user, password):
    text = psycopg.conninfo.make_conninfo(host="h", dbname="x", **({"user": user} if user else {}), password=password)
    found = conninfo_to_dict(postgres_url(text))
    assert (found.get("user", ""), found.get("password", "")) == (user, password)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("/data/lake", "/data/lake"),
        ("/data/lake/", "/data/lake"),
        ("lake", str(Path.cwd() / "lake")),
        ("./gs:/x", str(Path.cwd() / "gs:/x")),
        ("file:///data/my%20lake", "/data/my lake"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
    ],
)
def test_a_lake_is_a_folder_or_a_bucket(text, url):
    assert lake_url(text) == url
    assert lake_url(url) == url


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gs://bucket/lake", "found the scheme 'gs', which is not supported"),
        ("az://bucket/lake", "found the scheme 'az'"),
        ("https://bucket.s3.amazonaws.com/lake", "found the scheme 'https'"),
        ("hdfs:/lake", "found the scheme 'hdfs'"),
        ("s3a://bucket/lake", "write s3://bucket/lake"),
        ("S3://bucket/lake", "write s3://bucket/lake"),
        ("s3:/bucket/lake", "write s3://bucket/lake"),
        ("s3:bucket/lake", "write s3://bucket/lake"),
        ("s3://", "expected a bucket after s3://"),
        ("s3:///lake", "expected a bucket after s3://"),
        ("s3://my bucket/lake", "expected the name of a bucket"),
        ("s3://bucket/a//b", "expected a prefix of plain names"),
        ("s3://bucket/../b", "expected a prefix of plain names"),
        ("s3://bucket/a?region=eu-central-1", "AWS_* variables"),
        ("s3://key:hunter2@bucket/a", "set AWS_ACCESS_KEY_ID"),
        ("s3a://key:hunter2@bucket/a", "write s3://"),
        ("file://data/lake", "write the folder's path"),
        ("file:/data/lake", "write the folder's path"),
        ("$HOME/lake", "was not replaced"),
        ("~nobody-of-that-name/lake", "no home folder"),
        (__file__, "is a file"),
        (f"{__file__}/lake", "is a file"),
    ],
)
def test_a_lake_that_cannot_be_used_is_refused_with_what_to_write(text, says):
    with pytest.raises(ValueError, match="expected") as caught:
        lake_url(text)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["ftp://h", "http://", "http://h:port", "http://h h/", "http://h/?a=b", "http://h/#a", "h"]
)
def test_a_host_that_cannot_be_asked_is_refused(text):
    with pytest.raises(ValueError, match="expected a URL"):
        http_url(text)


def test_passwords_are_masked_wherever_they_stand():
    text = (
        "http://me:hunter2@proxy:8080 and postgresql://me:hunter2@h/x, password=hunter2 "
        "sslpassword='hunter2 x' ?user=a&password=hunter2&b=1"
    )
    assert masked(text) == (
        "http://me:***@proxy:8080 and postgresql://me:***@h/x, password=*** sslpassword=*** ?user=a&password=***&b=1"
    )
    plain = "https://archive.example:443/a@b?x=c@d and me@h: nothing to hide; the password is wrong"
    assert masked(plain) == plain


def test_no_error_of_ours_has_a_password_in_its_message_or_its_evidence():
    error = CryptoAssetsError("http://me:hunter2@h/x: no", url="http://me:hunter2@h/x", status=500)
    assert SECRET not in str(error) + repr(error) + repr(error.evidence)
    assert error.evidence == {"url": "http://me:***@h/x", "status": 500}


def test_an_outcome_and_nested_evidence_are_masked_too_and_plain_ones_stay_themselves():
    evidence = {"listing": "http://me:hunter2@h/listing", "looked": [{"url": "http://me:hunter2@h"}, 1]}
    partition = Partition("BTC/USDT", date(2024, 1, 1))
    outcome = Outcome(
        Series("binance", "spot", "trades"), partition, State.MISSING, "http://me:hunter2@h: no", evidence
    )
    assert SECRET not in repr(outcome)
    assert outcome.evidence == {"listing": "http://me:***@h/listing", "looked": [{"url": "http://me:***@h"}, 1]}
    plain = {"rows": 1, "listing": "http://h/listing", "more": [1, "2"]}
    assert masked_in(plain) is plain


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *(
            (host, True)
            for host in ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost", "LOCALHOST.", "::ffff:127.0.0.1")
        ),
        *((host, False) for host in ("10.0.0.1", "archive.example", "127.example.com", "localhost.example", "", "::2")),
    ],
)
def test_which_hosts_are_this_machine(host, loopback):
    assert is_loopback(host) is loopback
