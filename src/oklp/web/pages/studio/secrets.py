"""A game's secrets, which are shown once: on the page that answers the registration or the rotation.

They are kept nowhere for a second look. The file is made of a `data:` address on that page, so that it can be saved
without asking the server again, and without JavaScript.
"""

from __future__ import annotations

import base64

from starlette.responses import Response

from oklp import contract
from oklp.web.pages.frame import show
from oklp.web.pages.studio.desk import member_of
from oklp.web.pages.visit import Visit


async def show_secrets(
    visit: Visit, game: contract.StudioGame, config: contract.DeveloperConfig, *, new: bool
) -> Response:
    text = config.model_dump_json(indent=2)
    file = f"data:application/json;base64,{base64.b64encode(text.encode()).decode()}"
    return await show(
        visit,
        "studio/secrets.html",
        201,
        game=game,
        member=member_of(visit),
        live="",
        config=text,
        file=file,
        new=new,
        overlap_seconds=visit.here.settings.secret_overlap_seconds,
    )
