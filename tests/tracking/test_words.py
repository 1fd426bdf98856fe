"""What of a setting reaches MLflow: flat, short, named as it takes them, and without secrets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tracked_runs import SECRET

from depthbox.tracking import redacted
from depthbox.tracking.words import flat_params, flat_tags, store_name


@pytest.mark.parametrize(
    "text",
    [
        f"http://ann:{SECRET}@host:5000/a",
        f"http://ann:{SECRET}@evil@host/a",
        f"postgresql+psycopg2://u:{SECRET}/x@host/db?sslmode=require",
        f"https://{SECRET}@host",
        f"see http://host/a?page=1&access_token={SECRET}#x and more",
        f"s3://b/k?X-Amz-Signature={SECRET}&X-Amz-Credential={SECRET}",
        f"{{'nested': [{{'password': '{SECRET}'}}]}}",
        f"Authorization: Bearer {SECRET}",
        f"hf_{'a' * 20}{SECRET}",
    ],
)
def test_a_secret_in_a_text_is_redacted(text: str) -> None:
    assert SECRET not in redacted(text)
    assert "redacted" in redacted(text)


@pytest.mark.parametrize(
    "text",
    ["sqlite:////a/b.db", "http://host:5000/a?page=2", "git+https://host/a/b@main", "ann@host", "0.5 key points"],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S"))))
def test_no_password_of_any_characters_survives(noise: str) -> None:
    password = f"{noise.replace('://', '')}{SECRET}"
    assert SECRET not in redacted(f"http://ann:{password}@host:5000/path")


def test_params_are_flat_short_and_without_secrets() -> None:
    flat = flat_params(
        {
            "a": {"b": {"c": 1}, "empty": {}},
            "hub": {"token": SECRET, "num_tokens": 7, "key": 3, "api_key": SECRET},
            "long": "x" * 9000,
        }
    )
    assert flat["a.b.c"] == "1"
    assert flat["a.empty"] == "{}"
    assert (flat["hub.num_tokens"], flat["hub.key"]) == ("7", "3")
    assert flat["hub.token"] == flat["hub.api_key"] == "[redacted]"
    assert len(flat["long"]) <= 6000
    assert "9000 characters" in flat["long"]
    assert len(flat_tags({"long": "x" * 9000})["long"]) <= 8000
    assert flat_params({"long": "x" * 9000}) != flat_params({"long": "x" * 8999 + "y"})


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=400))
def test_every_name_becomes_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric_name

    _validate_metric_name(store_name(name))
    assert len(store_name(name)) <= MAX_ENTITY_KEY_LENGTH
