"""Scan processes, and the instructions that a device sends back of them."""

from __future__ import annotations

from fuzz import samples
from fuzz.mutation import mutate_xml
from fuzz.target import Target, must
from postscan.contracts.compare import differences
from postscan.contracts.emlf import EmailConfig
from postscan.contracts.fsf import FileShareConfig
from postscan.contracts.psp import filter_config, read_process, write_process
from postscan.contracts.spf import SharePointConfig
from postscan.core.errors import PostscanError
from postscan.soap.names import EMLF, FSF, SPF

_CONFIGS = {FSF: FileShareConfig, SPF: SharePointConfig, EMLF: EmailConfig}


def run(data: bytes) -> None:
    """Read a process, write it, and read that; compare its instructions with themselves and with others."""
    process = read_process(data)
    again = read_process(write_process(process))
    must(_plain(again) == _plain(process), "the process came back otherwise")
    must(not differences(process, process.instructions_element), "instructions differ from themselves")
    differences(samples.process(), process.instructions_element)
    differences(process, samples.process().instructions_element)
    must(len(process.scan_ticket.must_honor) <= len(data), "more marks than octets")
    for wanted in process.instructions.filters:
        kind = _CONFIGS.get(wanted.dialect)
        if kind is not None:
            try:
                filter_config(wanted.instructions, kind)
            except PostscanError:
                continue


def _plain(process: object) -> str:
    # Elements are other objects after each reading; all else is a value.
    return "".join(part.partition(" at 0x")[0] for part in repr(process).split("<Element"))


def seeds() -> list[bytes]:
    """Return a process."""
    return [samples.process_xml()]


TARGET = Target(
    "process",
    run,
    seeds,
    mutate_xml,
    words=(
        b"MustHonor",
        b"CanAddAddresses",
        b"ContinueOnError",
        b"AllowDeviceFilePathChange",
        b"SharePointConfig",
    ),
)
