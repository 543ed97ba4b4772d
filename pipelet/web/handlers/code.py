"""The code page of a version: all that it was made of."""

from __future__ import annotations

from pipelet.web.handlers.base import Body, NotFound, Pages, Site, reads
from pipelet.web.queries.code import family, other_versions, shown_files
from pipelet.web.queries.oneversion import Versions


class Code(Pages):
    """``/p/<pipeline>/code/<key>``"""

    @reads
    def code(self, site: Site, key: str, file: str | None = None) -> Body:
        """Show the code of a version, or one file of it."""
        row = site.instance(key)
        versions = Versions(site.tree, site.reader)
        version = versions.version(row)
        files = shown_files(version, file)
        if file is not None and not files:
            raise NotFound(f"The version {version.short} of {row.segment} has no file of this name.")
        others, before, more = other_versions(versions, row)
        parameters, sampled = versions.parameters(version)
        return site.render(
            "code.html",
            version=version,
            row=row,
            files=files,
            only=file,
            family=family(versions, row),
            others=others,
            before=before,
            more_versions=more,
            parameters=parameters,
            sampled=sampled,
            modules=list(version.modules().values()),
        )
