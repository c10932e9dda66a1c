"""Proves a folder of a file server without a job: all that a delivery does, with a small file."""

from __future__ import annotations

from postscan.filters.contract import ProbeOrder
from postscan.filters.naming import user_folder
from postscan.filters.probing import probe_document, probe_report
from postscan.filters.smb.delivery import SmbDeliveries, ThreadedSession
from postscan.filters.smb.publication import SmbPublication
from postscan.filters.smb.servers import SmbTarget


async def probe_server(deliveries: SmbDeliveries, target: SmbTarget, order: ProbeOrder) -> list[str]:
    """Write, rename, read back and remove a small file in the user's folder.

    :return: what was proven, in words.
    :raises DeliveryError: as a delivery would.
    """
    session = deliveries.session(order.destination.label)
    work = ThreadedSession(session, deliveries.threads_of(target.server), target.server)
    name = user_folder(order.job.user_name, order.job.user_domain)
    try:
        opened = await work.run(f"to open {target.key}", session.open_target, target)
        work.server = opened.target.server
        folder, made = await work.run(f"to open or make the folder {name}", opened.folder.inner, name)
        with probe_document() as document:
            file_name = document.name or ""
            publication = SmbPublication(folder, document, f".{file_name}.part")
            try:
                await work.run("to write a file", publication.begin)
                await work.run("to write a file", publication.write, work.stop)
                placed = await work.run(f"to write {file_name}", publication.place, file_name)
                await work.run(f"to write {file_name}", publication.finish)
                whole = await work.run(f"to read {file_name}", publication.holds_document, file_name)
            finally:
                await work.run("to remove a file", publication.discard)
                await work.run("to remove a file", folder.remove, file_name)
                if made:
                    await work.run(f"to remove the folder {name}", opened.folder.remove_folder, name)
        server = opened.target.server
        proven = [f"{server.host} lets {server.who} in; what is sent is {session.protection}"]
        if opened.target.key != target.key:
            proven.append(f"the DFS path leads to {opened.target.key}")
        return proven + probe_report(name, order.destination.label, made=made, whole=whole and placed)
    finally:
        await work.end()
