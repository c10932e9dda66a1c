"""The crowd of bench.directory as an embedded directory."""

from __future__ import annotations

from pathlib import Path

from bench.crowd import Crowd
from postscan.directory.embedded_entries import toml_value

_DOMAIN_SID = "S-1-5-21-1-2-3"


def write_embedded(crowd: Crowd, folder: Path) -> list[str]:
    """Write everybody, their groups and the scan processes into a folder; return the users' SIDs."""
    sids = [f"{_DOMAIN_SID}-{10_000 + number}" for number in range(crowd.users)]
    (folder / "processes").mkdir(parents=True)
    with (folder / "users.toml").open("w", encoding="utf-8") as file:
        file.write('domain = "dsm.test"\n')
        for number, sid in enumerate(sids):
            file.write(f'[[user]]\nsid = "{sid}"\nname = "{crowd.user(number)}"\n')
        for name, members in crowd.members().items():
            file.write(f"[[group]]\nname = {toml_value(name)}\nmembers = {toml_value(members)}\n")
    for number in range(crowd.processes):
        stem = folder / "processes" / f"process-{number:05d}"
        stem.with_suffix(".xml").write_bytes(crowd.xml(number))
        stem.with_suffix(".toml").write_text(
            f'identifier = "{crowd.identifier(number)}"\n'
            f"display_name = {toml_value(crowd.name(number))}\n"
            f"groups = {toml_value([crowd.group_of_process(number)])}\n",
            encoding="utf-8",
        )
    return sids
