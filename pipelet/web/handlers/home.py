"""The first page: the tracked pipelines."""

from __future__ import annotations

from pipelet.web.handlers.base import Body, Pages, current_session, redirect, route
from pipelet.web.queries.home import card


class Home(Pages):
    """``/``"""

    @route
    def index(self) -> Body:
        """List the pipelines that this visitor may see."""
        pipelines = self.services.gate.granted(current_session(self.services))
        if not pipelines:
            raise redirect(self.services.url("login"))
        return self.services.render("home.html", cards=[card(*one) for one in pipelines])
