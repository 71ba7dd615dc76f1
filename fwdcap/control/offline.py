"""What can be done to the data path while no daemon runs.

The same verbs with the same answers as the client's, carried out in this
process; the command line uses it for `datapath` and `doctor` when nothing
answers on the control socket.
"""

from __future__ import annotations

from typing import Any

from fwdcap.capture.accounts import lookup
from fwdcap.config import Settings
from fwdcap.control import doctor, host, kernel, routetable, status
from fwdcap.control.backend import Backend, real
from fwdcap.control.kernel import Kernel, View, ownerless
from fwdcap.control.routetable import RouteTable
from fwdcap.errors import Conflict, FwdcapError, NotFound

Body = dict[str, Any]


class Offline:
    """The verbs that need no daemon."""

    def __init__(self, settings: Settings, backend: Backend | None = None) -> None:
        self._settings = settings
        self._backend = backend or real()

    def datapath(self) -> Body:
        """Every pinned data path of this network namespace."""
        _require_privileges()
        with kernel.opened(self._backend, self._settings, self._backend.pinned()) as views:
            return {"datapaths": [status.datapath_detail(view, 0) for view in views]}

    def datapath_attach(self, interface: str) -> Body:
        """Attach and apply the configured routes. Raises NotFound, Invalid or Conflict."""
        _require_privileges()
        if self._backend.info(interface) is None:
            raise kernel.missing(interface)
        table = routetable.read(self._settings)
        if table.routes:
            table.check(self._backend, interface)
            table = routetable.number(table, self._settings.store.path)
        self._backend.mount()
        holder = Kernel(self._settings, self._backend)
        try:
            holder.attach(interface)
            lines = holder.apply(table.rules(), table.names()) if table.routes else []
            view = holder.view()
        finally:
            holder.close()
        return {"interface": interface, "message": status.attached(view), "lines": lines}

    def datapath_detach(self, interface: str | None = None) -> Body:
        """Remove what is pinned. Raises Conflict when there is nothing or no single one."""
        _require_privileges()
        name = interface or self._only_one()
        holder = Kernel(self._settings, self._backend)
        try:
            if not holder.open(name):
                return self._clear_away(name)
            if holder.capture_active():
                raise Conflict(
                    f"A capture still records what passes {name}.",
                    code="capture-active",
                    hint="Start the daemon again (`fwdcap run`) and stop the capture there.",
                )
            lines = holder.detach()
        finally:
            holder.close()
        message = f"detached from {name}, nothing is forwarded any more"
        return {"interface": name, "message": message, "lines": lines}

    def _clear_away(self, name: str) -> Body:
        """What an attach or detach that was cut short left behind."""
        lines = self._backend.clear_away(name)
        if lines is None:
            raise NotFound(
                f"No data path is pinned for interface {name}.",
                code="not-attached",
                hint="`fwdcap datapath show` lists those there are.",
            )
        message = f"removed what was left of a data path of {name}"
        return {"interface": name, "message": message, "lines": lines}

    def doctor(self) -> Body:
        settings = self._settings
        name = settings.interface.name or self._pinned_one()
        table, wrong = self._table()
        view = View("none")
        if name is not None:
            view = View("detached", name, info=self._backend.info(name))
            if not host.lacking(host.effective_capabilities()):
                try:
                    with kernel.opened(self._backend, settings, [name]) as views:
                        view = views[0] if views else view
                except Conflict as error:  # a daemon's that is asked about from outside
                    wrong["xdp"] = error
        accounts = lookup(settings.users.web, settings.users.recorder)
        found = doctor.examine(settings, self._backend, view, accounts, table)
        checks = [check for check in found if check.name not in wrong]
        checks += [
            doctor.Check(name, "failure", error.message, error.hint)
            for name, error in wrong.items()
        ]
        return {"checks": [check.to_dict() for check in checks]}

    def _pinned_one(self) -> str | None:
        """The interface that still forwards, where there is just one."""
        found = self._backend.pinned()
        return found[0] if len(found) == 1 else None

    def _table(self) -> tuple[RouteTable, dict[str, FwdcapError]]:
        """The configured routes, or none and what is wrong with them."""
        try:
            table = routetable.read(self._settings)
            table.check_alone()
        except FwdcapError as error:
            return RouteTable(), {"routes": error}
        return table, {}

    def left_behind(self) -> list[str]:
        """Interfaces that still forward and have no daemon; none where one may not look."""
        if host.lacking(host.effective_capabilities()):
            return []
        names = self._backend.pinned()
        return [name for name in names if ownerless(self._backend, self._settings, name)]

    def _only_one(self) -> str:
        names = self._backend.pinned()
        if len(names) == 1:
            return names[0]
        if not names:
            raise Conflict(
                "No data path is attached, there is nothing to detach.",
                code="not-attached",
                hint="`fwdcap datapath attach IFACE` attaches one.",
            )
        raise Conflict(
            f"There are several data paths: {', '.join(names)}.",
            code="several-datapaths",
            hint="Name one: `fwdcap datapath detach IFACE`.",
        )


def _require_privileges() -> None:
    host.require_kernel(host.kernel_release())
    host.require_privileges(host.effective_capabilities())
