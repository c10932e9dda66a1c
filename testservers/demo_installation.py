"""What the delivery demo works with: three servers to deliver to, and a scan server that knows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from postscan.cli.installation import Installation, InstallationPlan, create_installation
from postscan.cli.pki import create_ca, issue_server, write_pair
from postscan.contracts.psp import read_process
from postscan.device import pages
from postscan.directory.embedded import EmbeddedDirectory
from postscan.directory.model import StoredProcess
from testservers import fileserver, mailserver, webserver
from testservers.fileserver import SCANNER, FileServer, free_port
from testservers.mailserver import MailServer
from testservers.webserver import LIBRARY, Logon, WebServer

PROCESS: Final = "Letters, searchable, to three places"
USER: Final = "alice"
ARCHIVE: Final = f"scan@{mailserver.DOMAIN}"
PAGES: Final = 3
SHARE: Final = r"\\localhost\scans\letters"
_HOST: Final = "localhost"
_SHARES: Final = (fileserver.Share("scans", {"read only": "no"}),)


@dataclass(frozen=True, slots=True)
class Servers:
    """The three servers that scans are delivered to, and the authority their certificates are from."""

    files: FileServer
    mail: MailServer
    web: WebServer
    ca: Path


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A scan server's installation, and the pages that are scanned."""

    installation: Installation
    pages: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        """The installation's folder."""
        return self.installation.folder


def missing() -> list[str]:
    """Return what this machine lacks for the demo, in words; empty when nothing."""
    web, mail = webserver.missing(), mailserver.missing()
    lacking = [*fileserver.missing(), *([web] if web else []), *([mail] if mail else [])]
    try:
        import ocrmypdf  # noqa: F401 - only to see whether it is there
    except ImportError:
        lacking.append("OCRmyPDF: pip install 'postscan[ocr]'")
    return lacking


@contextmanager
def running(folder: Path) -> Iterator[Servers]:
    """Run a Samba, a Postfix and an Apache, each in a folder of its own below ``folder``."""
    folder.mkdir()
    folder.chmod(0o755)  # the servers have accounts of their own
    authority = create_ca("The authority of the demo's servers")
    ca, certificate, key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    write_pair(authority, ca, folder / "ca.key")
    write_pair(issue_server(authority, _HOST), certificate, key)
    with ExitStack() as stack:
        files = stack.enter_context(FileServer(folder / "samba", shares=_SHARES))
        letters = files.folder("scans") / "letters"
        letters.mkdir()
        letters.chmod(0o777)
        mail = stack.enter_context(MailServer(folder / "postfix", certificate=certificate, key=key))
        web = stack.enter_context(WebServer(folder / "apache", certificate=certificate, key=key))
        yield Servers(files, mail, web, ca)


def install(folder: Path, servers: Servers) -> Demonstration:
    """Make an installation as `postscan init` does, with the settings that lead to the three servers."""
    made = create_installation(
        InstallationPlan(
            folder=folder,
            fqdn=_HOST,
            listen=f"127.0.0.1:{free_port()}",
            domain=mailserver.DOMAIN,
            overrides={
                "server": {"metrics_listen": ""},
                "eventing": {"allow_loopback": True},
                # An outage lasts seconds here; as it comes, the first pause is half a minute.
                "retry": {"first_seconds": 1, "cap_seconds": 2},
                "fileshare": {
                    "servers": {
                        _HOST: {
                            "auth": "ntlm",
                            "account": SCANNER.name,
                            "port": servers.files.port,
                        }
                    }
                },
                "email": {
                    "server": servers.mail.host,
                    "port": servers.mail.port,
                    "security": "starttls",
                    "ca": str(servers.ca),
                    "account": mailserver.ACCOUNT,
                    "sender": f"scanner@{mailserver.DOMAIN}",
                },
                "sharepoint": {
                    "sites": {
                        servers.web.origin(Logon.BASIC): {
                            "auth": "basic",
                            "account": webserver.ACCOUNT,
                            "ca": str(servers.ca),
                        }
                    }
                },
            },
        )
    )
    xml = _process_xml(servers.web.origin(Logon.BASIC))
    (made.folder / "letters.xml").write_bytes(xml)
    process = StoredProcess(
        identifier=uuid4(),
        display_name=PROCESS,
        xml=xml,
        process=read_process(xml),
        users=frozenset({USER}),
    )
    EmbeddedDirectory(made.folder / "directory", domain=None).write_process(process)
    drawn = tuple(made.folder / f"page{number}.tif" for number in range(1, PAGES + 1))
    for number, path in enumerate(drawn, start=1):
        path.write_bytes(pages.as_g4(pages.text_page(number), path.stem).read())
    return Demonstration(made, drawn)


def secrets(servers: Servers) -> dict[str, str]:
    """Return what an administrator has to enter, by the secrets' names."""
    return {
        f"fileshare.{_HOST}.password": SCANNER.password,
        "email.password": mailserver.PASSWORD,
        f"sharepoint.{_HOST}.{servers.web.port(Logon.BASIC)}.password": webserver.PASSWORD,
    }


def _process_xml(site: str) -> bytes:
    library = f"{site}{LIBRARY}".replace(" ", "%20")
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<psp:PostScanProcess
    xmlns:psp="http://schemas.microsoft.com/windows/2008/02/imaging/postscan/psp"
    xmlns:wscn="http://schemas.microsoft.com/windows/2006/08/wdp/scan"
    xmlns:fsf="http://schemas.microsoft.com/windows/2007/10/imaging/postscan/filter/fileshare"
    xmlns:emlf="http://schemas.microsoft.com/windows/2007/10/imaging/postscan/filter/email"
    xmlns:spf="http://schemas.microsoft.com/windows/2007/10/imaging/postscan/filter/sharepoint"
    xmlns:names="urn:postscan:filter:names"
    xmlns:assemble="urn:postscan:filter:assemble"
    xmlns:ocr="urn:postscan:filter:ocr">
  <psp:ScanRepository>{_HOST}</psp:ScanRepository>
  <psp:ScanTicket>
    <wscn:JobDescription>
      <wscn:JobName>Letters</wscn:JobName>
      <wscn:JobOriginatingUserName></wscn:JobOriginatingUserName>
    </wscn:JobDescription>
    <wscn:DocumentParameters>
      <wscn:Format>tiff-single-g4</wscn:Format>
      <wscn:InputSource>ADF</wscn:InputSource>
    </wscn:DocumentParameters>
  </psp:ScanTicket>
  <psp:PostScanInstructions>
    <psp:ContinueOnError>true</psp:ContinueOnError>
    <psp:DocumentRootName>Letter</psp:DocumentRootName>
    <psp:FiltersToProcess>
      <psp:Filter>
        <psp:Dialect>urn:postscan:filter:assemble</psp:Dialect>
        <psp:Instructions>
          <assemble:AssembleConfig><assemble:Output>pdf-a</assemble:Output></assemble:AssembleConfig>
        </psp:Instructions>
      </psp:Filter>
      <psp:Filter>
        <psp:Dialect>urn:postscan:filter:ocr</psp:Dialect>
        <psp:Instructions>
          <ocr:OcrConfig>
            <ocr:Languages><ocr:Language>eng</ocr:Language></ocr:Languages>
            <ocr:Rotate>true</ocr:Rotate>
          </ocr:OcrConfig>
        </psp:Instructions>
      </psp:Filter>
      <psp:Filter>
        <psp:Dialect>urn:postscan:filter:names</psp:Dialect>
        <psp:Instructions>
          <names:NamesConfig>
            <names:Template>{{root}} {{counter:4}} of {{user}}</names:Template>
          </names:NamesConfig>
        </psp:Instructions>
      </psp:Filter>
      <psp:Filter>
        <psp:Dialect>http://schemas.microsoft.com/windows/2007/10/imaging/postscan/filter/fileshare</psp:Dialect>
        <psp:Instructions>
          <fsf:FileShareConfig>
            <fsf:FileShares><fsf:ShareUNC>{SHARE}</fsf:ShareUNC></fsf:FileShares>
          </fsf:FileShareConfig>
        </psp:Instructions>
      </psp:Filter>
      <psp:Filter>
        <psp:Dialect>http://schemas.microsoft.com/windows/2007/10/imaging/postscan/filter/email</psp:Dialect>
        <psp:Instructions>
          <emlf:EmailConfig>
            <emlf:SendToScanUser>true</emlf:SendToScanUser>
            <emlf:SendToAddresses>
              <emlf:EmailAddress>{ARCHIVE}</emlf:EmailAddress>
            </emlf:SendToAddresses>
          </emlf:EmailConfig>
        </psp:Instructions>
      </psp:Filter>
      <psp:Filter>
        <psp:Dialect>http://schemas.microsoft.com/windows/2007/10/imaging/postscan/filter/sharepoint</psp:Dialect>
        <psp:Instructions>
          <spf:SharePointConfig>
            <spf:SaveToSharePointSites>
              <spf:SaveToSharePointSiteURL>{library}</spf:SaveToSharePointSiteURL>
            </spf:SaveToSharePointSites>
          </spf:SharePointConfig>
        </psp:Instructions>
      </psp:Filter>
    </psp:FiltersToProcess>
  </psp:PostScanInstructions>
</psp:PostScanProcess>
""".encode()
