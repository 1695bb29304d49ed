"""Promise of the pages of OAuth2: as few statements of SQL as every other page."""

from __future__ import annotations

from panel import db
from tests.oauth.pages.connecting import Connecting
from tests.web.test_page_cost import MOST, cost


def test_its_pages_take_no_more_than_eight_statements(connecting: Connecting) -> None:
    uuid = connecting.connected()
    connecting.known_app("microsoft")
    waiting = connecting.waiting(connecting.user())
    page = connecting.connect(waiting)
    begun = page.request.path
    granted = connecting.come_back(connecting.sign_in(page, "delegate@example.org")).request.path
    device = connecting.connect(waiting, way="device").request.path
    db.database.obj.pool_connections()
    paths = (
        "/server/oauth", "/server/oauth/new", f"/server/oauth/{connecting.uid}", f"/accounts/{uuid}",
        f"/accounts/{waiting}", f"/accounts/{uuid}/edit", f"/accounts/{uuid}/sending", "/accounts/new", begun, granted, device,
    )  # fmt: skip
    costs = {path: cost(connecting.admin, path) for path in paths}
    db.database.obj.close_idle()
    too_much = {path: len(found) for path, found in costs.items() if len(found) > MOST}
    assert not too_much, "\n".join(["", *costs[next(iter(too_much))], str(too_much)])
