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
        known = {tracked.name for tracked, _, _ in pipelines}
        lost: list[tuple[str, str]] = []
        if self.services.settings.is_personal:
            # Whose they are can't be told: those who sit at this machine may know, visitors from elsewhere not.
            lost = [(one.name, str(error)) for one, error in self.services.gate.unreadable() if one.name not in known]
        return self.services.render("home.html", cards=[card(*one) for one in pipelines], lost=lost)
