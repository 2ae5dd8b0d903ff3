"""Downloads that do not come."""

import pytest
from requests.exceptions import ConnectionError, ConnectTimeout

from ppl_vae.data.download import downloading


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionError("HTTPSConnectionPool(host='a.b', port=443): Max retries exceeded"), "there is no connection"),
        (ConnectTimeout("HTTPSConnectionPool(host='a.b', port=443)"), "the server does not answer"),
        (ValueError("another MD5"), "another MD5"),
    ],
)
def test_the_message_says_why_in_short_and_what_to_do(tmp_path, monkeypatch, error, words):
    monkeypatch.delenv("PPL_VAE_DATA", raising=False)
    with pytest.raises(ValueError, match="digits is not in") as caught, downloading("digits", tmp_path, "a.b", "do so"):
        raise error
    assert f"cannot be downloaded from a.b ({words}" in str(caught.value) and str(caught.value).endswith("; do so")
    assert "HTTPSConnectionPool" not in str(caught.value) and not list(tmp_path.iterdir())
