"""Loaded by the process that tests fork `oklp` from: what each of hundreds of forks would otherwise make for itself."""

from __future__ import annotations

import gc
from importlib import import_module

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import TypeAdapter

from oklp import contract

# The rest is what a server loads with its first webhook, or a command as it prints.
LOADED = ("oklp.cli", "oklp.serving", "oklp.sender", "rich.markdown", "rich.table", "rich._emoji_codes")


def _build(model: type[contract.Wire]) -> None:
    model.model_rebuild()
    for each in model.__subclasses__():
        _build(each)


def _prepare() -> None:
    for name in LOADED:
        import_module(name)
    from oklp.services import vault
    from oklp.services.players import countries
    from oklp.web.pages import frame, words

    for each in gc.get_objects():
        if type(each) is TypeAdapter:
            each.rebuild(raise_errors=False)
    _build(contract.Wire)
    # As cheap as Argon2 can be: a run hashes thousands of passwords, each twice. What the product takes has a test in
    # tests/services/test_accounts.py.
    vault._passwords = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    vault.NEVER_MATCHES = vault.hash_password(vault.NEVER_MATCHES)
    countries()
    environment = frame.environment(words.SOURCE)
    for template in environment.list_templates():
        environment.get_template(template)
    gc.collect()
    gc.freeze()  # a fork's collector would copy every page that it looks at


_prepare()
