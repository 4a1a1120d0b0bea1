"""A URI of models says where they are and what they must be, and wrong ones are refused with a sentence."""

from __future__ import annotations

import pytest

from inferencehub.inference.fetch.rules import FetchError
from inferencehub.inference.fetch.uri import ModelUri, parse_uri

SUM = "0123456789abcdef" * 4


def test_an_archive_over_https() -> None:
    uri = parse_uri(f"https://a.example.com/x/models.tar.gz?sig=secret#sha256={SUM.upper()}")
    assert uri == ModelUri("https://a.example.com/x/models.tar.gz?sig=secret", SUM)
    assert (uri.archive, uri.is_tree) == (".tar.gz", False)
    assert uri.shown() == "https://a.example.com/x/models.tar.gz"


def test_a_file_has_a_model_and_a_version() -> None:
    uri = parse_uri("s3://bucket/churn%20x/churn-7.onnx#model=churn&version=7")
    assert (uri.bucket, uri.path, uri.model, uri.version) == (
        "bucket",
        "churn%20x/churn-7.onnx",
        "churn",
        "7",
    )
    assert (uri.archive, uri.is_tree) == ("", False)


@pytest.mark.parametrize("text", ["s3://bucket", "s3://bucket/", "s3://bucket/a/b/"])
def test_a_prefix_is_a_tree(text: str) -> None:
    assert parse_uri(text).is_tree


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ftp://a/models.zip", "expected https://… or s3://…"),
        ("models.zip", "expected https://… or s3://…"),
        ("file:///etc/passwd", "expected https://… or s3://…"),
        ("https:///models.zip", "expected https://… or s3://…"),
        ("htps://me:secret@a/models.zip", "'htps://a/models.zip' is no URI of models"),
        ("https://me:secret@a:99999/models.zip", "'https://a:99999/models.zip' is no URI of models: Port"),
        ("https://[secret/models.zip", "is no URI of models: Invalid IPv6 URL"),
        ("https://a/models.zip?key=secret x", "'https://a/models.zip' has a space or a control character"),
        ("https://a:b/models.zip", "is no URI of models: Port could not be cast"),
        ("http://a/models.zip", "expected '#sha256=…' or https"),
        ("https://a/models.zip#sha256=abc", "'#sha256=abc' is no checksum, expected 64 hexadecimal digits"),
        (
            "https://a/models.zip#md5=abc",
            "'#md5=' is unknown in a URI of models, expected sha256, model and version",
        ),
        ("https://a/models.zip#sha256", "is no URI of models"),
        ("https://me:secret@a/models.zip", "a user or a password, expected them in the environment"),
        ("https://a/model.onnx", "add '#model=NAME'"),
        ("https://a/model.onnx#model=../x", "'../x' cannot be the name of a model"),
        ("https://a/model.onnx#model=_x", "'_x' cannot be the name of a model"),
        ("https://a/model.onnx#model=x&version=new", "'new' is no version, expected a whole number"),
        ("https://a/models/", "neither an archive"),
        (
            "s3://hub/prod#model=m",
            "nor a file such as model.onnx; a prefix ends with a slash: s3://hub/prod/",
        ),
        ("s3:///prod/", "'s3:///prod/' names no bucket, expected s3://bucket/prefix/ or s3://bucket/key"),
        ("s3://bucket/a.zip?versionId=3", "expected s3://bucket/key"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(FetchError) as error:
        parse_uri(text)
    assert says in str(error.value)
    assert "secret" not in str(error.value)
