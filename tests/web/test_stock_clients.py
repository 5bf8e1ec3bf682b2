"""Stock OpenID clients against the issuer, unmodified."""

from __future__ import annotations

from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.jwk import KeySet
from keycloak import KeycloakOpenID

from tests.harness import Server

BACKENDS = ("sqlite",)


def test_python_keycloak(served: Server) -> None:
    game = served.register(discovery="pull")
    client = KeycloakOpenID(
        server_url=f"{served.url}/auth/",
        realm_name="oklp",
        client_id=game.client_id,
        client_secret_key=game.auth["client_secret"],
    )
    known = client.well_known()
    assert known["issuer"] == game.auth["public_key_url"]
    token = client.token(grant_type="client_credentials", scope="olp-report-api")
    assert client.public_key()
    claims = client.decode_token(token["access_token"], validate=False)
    assert claims["iss"] == known["issuer"]
    assert client.introspect(token["access_token"])["active"] is True
    assert client.introspect("nonsense")["active"] is False


def test_authlib(served: Server) -> None:
    game = served.register(discovery="pull")
    for method in ("client_secret_basic", "client_secret_post"):
        with OAuth2Client(
            client_id=game.client_id,
            client_secret=game.auth["client_secret"],
            token_endpoint=game.auth["token_url"],
            token_endpoint_auth_method=method,
            scope="olp-report-api",
        ) as client:
            token = client.fetch_token(grant_type="client_credentials")
            answer = client.get(f"{served.url}/api/game/v1/matches")
            assert answer.status_code == 200
            document = client.get(f"{game.auth['public_key_url']}/.well-known/openid-configuration").json()
            keys = KeySet.import_key_set(client.get(document["jwks_uri"]).json())
            verified = jwt.decode(token["access_token"], keys, algorithms=["RS256"])
            assert verified.claims["aud"] == document["issuer"]
