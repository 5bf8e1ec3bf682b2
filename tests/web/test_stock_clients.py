"""Stock OpenID clients against the issuer, unmodified."""

from __future__ import annotations

import httpx
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata
from joserfc import jwt
from joserfc.jwk import KeySet
from keycloak import KeycloakOpenID

from tests.harness import GameClient, PlayerClient, Server, paid_match

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


def test_the_answers_to_games_are_those_of_the_document(served: Server) -> None:
    """Clients that are made from /openapi.json read each field by its name there."""
    game = served.register(discovery="pull")
    one, two = PlayerClient(served.url), PlayerClient(served.url)
    match_id = paid_match(one, two, game.client_id)
    backend = GameClient(served.url, game)
    token = one.act(match_id, "launch")["launch_url"].split("token=")[1]
    secret = game.auth["client_secret"]
    form = {"grant_type": "client_credentials", "client_id": game.client_id, "client_secret": secret}
    base = "/auth/realms/{realm}/protocol/openid-connect/token"
    answers = {
        base: backend.http.post(base.format(realm="oklp"), data=form),
        "/api/game/v1/token-info": backend.http.post("/api/game/v1/token-info", json={"token": token}),
        "/api/game/v1/finish": backend.finish(backend.report(match_id, one.user_id)),
    }
    document = httpx.get(f"{served.url}/openapi.json", timeout=60).json()
    for path, answer in answers.items():
        assert answer.status_code == 200, answer.text
        said = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        assert set(answer.json()) == set(document["components"]["schemas"][said.split("/")[-1]]["properties"])


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
            published = client.get(document["jwks_uri"])
            assert published.headers["cache-control"] == "no-cache", "a new key signs at once"
            keys = KeySet.import_key_set(published.json())
            verified = jwt.decode(token["access_token"], keys, algorithms=["RS256"])
            assert verified.claims["aud"] == document["issuer"]
            for reader in (OpenIDProviderMetadata, AuthorizationServerMetadata):
                reader(document).validate()


def test_the_realm_is_read_with_a_slash_at_its_end(served: Server) -> None:
    address = f"{served.url}/auth/realms/oklp"
    plain, slashed = httpx.get(address), httpx.get(f"{address}/")
    assert (slashed.status_code, slashed.json()) == (200, plain.json())
    assert httpx.get(f"{served.url}/auth/realms/none/").status_code == 404
