"""/api/v1: the appliance for programs and for our own pages, as JSON.

One module for each noun; every view declares what it takes and answers
(operation.py), and the OpenAPI document at /api/v1/openapi.json is made from
those declarations. Programs send a password or a token. A browser's session is
taken as well, but to change something it must send its page's token too: that
is what a page of another site does not know.
"""

from __future__ import annotations

from webui.api import captures, interfaces, openapi, routes, schedule, streams, system, users
from webui.api.blueprint import blueprint

NOUNS = (system, interfaces, streams, captures, schedule, routes, users, openapi)

__all__ = ["NOUNS", "blueprint"]
