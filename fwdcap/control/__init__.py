"""fwdcapd: the one process that owns kernel objects, routes and captures.

`service` has the verbs, `server` offers them on a unix socket, `client` is how
everything else (the command line, the web pages) reaches them, and `daemon` is
the life of the process. Only the client may be imported from outside.
"""
