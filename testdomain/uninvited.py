"""A device that asks for a scan process its user was never shown; run beside the controller, by the demo.

Usage: python -m testdomain.uninvited ADDRESS CA CERTIFICATE KEY SID PROCESS

It prints what the server answers: the fault, as a device would get it, or the token of the job. Exit status:
0 when the server refused, 1 when it made a job of it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from postscan.cli.output import quiet_logs
from postscan.contracts.psp import read_process
from postscan.core.errors import PostscanError
from postscan.device.client import ScanServerClient, client_context
from postscan.directory.model import StoredProcess
from testdomain.processes import domain_processes


async def _ask(address: str, ca: str, certificate: str, key: str, sid: str, name: str) -> int:
    wanted = next(process for process in domain_processes() if process.display_name == name)
    process = StoredProcess(wanted.identifier, name, wanted.xml, read_process(wanted.xml))
    tls = client_context(Path(ca), Path(certificate), Path(key))
    async with ScanServerClient(address, tls=tls) as client:
        try:
            token = await client.create(process, sid)
        except PostscanError as error:
            print(error)
            return 0
        await client.cancel(token)
        print(f"made the job {token}")
        return 1


if __name__ == "__main__":
    quiet_logs()
    sys.exit(asyncio.run(_ask(*sys.argv[1:])))
