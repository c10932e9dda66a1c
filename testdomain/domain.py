"""A provisioned domain in a folder: making it, copying it, and what is in the folder.

``etc/smb.conf`` and ``private/`` are Samba's; ``krb5.conf`` is for clients; ``pki/`` holds the domain's own
certificate authority and ``keytabs/`` the keys of the service account and of the scan server's computer.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from postscan.cli.pki import KeyAlgorithm, KeyPair, create_ca, issue_server, write_pair
from testdomain import offline
from testdomain.errors import TestDomainError
from testdomain.facts import (
    ADDRESS,
    ADMINISTRATOR,
    COMPUTER,
    CONTROLLER,
    DNS_DOMAIN,
    NETBIOS,
    REALM,
    SCAN_SERVER,
    SERVICE,
)
from testdomain.population import population

_TOOLS: Final = {
    "samba": "samba",
    "samba-tool": "samba",
    "ip": "iproute2",
    "unshare": "util-linux",
    "/usr/share/samba/setup/provision.ldif": "samba-ad-provision",
}
_SECONDS: Final = 300
# The services of a controller that neither LDAP, Kerberos nor DNS need; they cost a second and 100 MB.
_NOT_NEEDED: Final = "-s3fs -nbt -wrepl -drepl -winbindd -ntp_signd -kcc -dnsupdate"
_KRB5: Final = f"""# For clients of the test domain: set KRB5_CONFIG to the path of this file.
[libdefaults]
  default_realm = {REALM}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
[realms]
  {REALM} = {{
    kdc = {ADDRESS}
    admin_server = {ADDRESS}
  }}
[domain_realm]
  .{DNS_DOMAIN} = {REALM}
  {DNS_DOMAIN} = {REALM}
"""


def missing() -> list[str]:
    """Return what this machine lacks for a test domain, in words; empty when nothing is missing."""
    lacking = [] if os.geteuid() == 0 else ["only root can make network namespaces and use Samba's ports"]
    for tool, package in _TOOLS.items():
        found = Path(tool).exists() if tool.startswith("/") else shutil.which(tool)
        if not found:
            lacking.append(f"{tool} (Debian package {package}) is not installed, or not in PATH")
    return lacking


class DomainFolder:
    """A provisioned domain."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @property
    def settings(self) -> Path:
        """Samba's own settings."""
        return self.path / "etc" / "smb.conf"

    @property
    def krb5_conf(self) -> Path:
        """What KRB5_CONFIG is to name."""
        return self.path / "krb5.conf"

    @property
    def ca(self) -> Path:
        """The certificate of the domain's authority (PEM)."""
        return self.path / "pki" / "ca.pem"

    @property
    def service_keytab(self) -> Path:
        """The keys of svc-scan@DSM.TEST."""
        return self.path / "keytabs" / "svc-scan.keytab"

    @property
    def computer_keytab(self) -> Path:
        """The keys of SCANSRV$@DSM.TEST."""
        return self.path / "keytabs" / "scansrv.keytab"

    @property
    def server_certificate(self) -> Path:
        """The certificate of the scan server, scansrv.dsm.test (PEM); its key ends in ``.key``."""
        return self.path / "pki" / "scansrv.pem"

    def authority(self) -> KeyPair:
        """Return the domain's authority, with its key, to issue certificates from."""
        key = serialization.load_pem_private_key(
            self.ca.with_suffix(".key").read_bytes(), None, unsafe_skip_rsa_key_validation=True
        )
        return KeyPair(x509.load_pem_x509_certificate(self.ca.read_bytes()), key)  # type: ignore[arg-type] # RSA

    def copy(self, path: Path) -> DomainFolder:
        """Copy it to a folder that is not there yet."""
        copied = DomainFolder(path)
        copied.path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["cp", "-a", "--reflink=auto", str(self.path), str(copied.path)], check=True, timeout=_SECONDS
        )
        text = copied.settings.read_text().replace(f"{self.path}/", f"{copied.path}/")
        copied.settings.write_text(text.replace(f"{self.path}\n", f"{copied.path}\n"))
        return copied


def provision(path: Path) -> DomainFolder:
    """Make a new domain in a folder that is empty or not there; takes about five seconds.

    :raises TestDomainError: something is missing here, or Samba failed.
    """
    if lacking := missing():
        raise TestDomainError("; ".join(lacking))
    domain = DomainFolder(path)
    if domain.path.exists() and any(domain.path.iterdir()):
        raise TestDomainError(f"{path} is not empty")
    for folder in ("pki", "keytabs"):
        (domain.path / folder).mkdir(parents=True)
    domain.path.chmod(0o755)
    authority = _certificates(domain)
    domain.krb5_conf.write_text(_KRB5)
    _samba_provision(domain)
    revoked = _revocation_list(authority)
    (domain.path / "pki" / "ca.crl").write_bytes(revoked.public_bytes(serialization.Encoding.DER))
    keytabs = [(SERVICE.name, domain.service_keytab), (COMPUTER.name, domain.computer_keytab)]
    operations = [*population(authority.certificate, revoked)]
    offline.apply(domain.path, [*operations, *(offline.keytab(name, file) for name, file in keytabs)])
    return domain


def template(path: Path) -> DomainFolder:
    """Return the domain in ``path`` to be copied, made now unless a fresh one of this source is there.

    Several processes may ask at once: one makes it, the others wait.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = path / ".source"
    with _locked(path.with_name(f"{path.name}.lock")):
        fresh = _source()
        if not (mark.is_file() and mark.read_text() == fresh):
            shutil.rmtree(path, ignore_errors=True)
            provision(path)
            mark.write_text(fresh)
    return DomainFolder(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _source() -> str:
    """Return what changes with what a domain is made by, and every week: certificates and passwords age."""
    digest = hashlib.sha256()
    for name in ("domain", "facts", "foreign", "offline", "population", "processes", "samba_side"):
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return f"{digest.hexdigest()} {datetime.now(UTC):%G-%V}"


def _certificates(domain: DomainFolder) -> KeyPair:
    pki = domain.path / "pki"
    authority = create_ca("DSM Test CA", algorithm=KeyAlgorithm.RSA)
    write_pair(authority, domain.ca, domain.ca.with_suffix(".key"))
    for name, pair in {
        "dc1": issue_server(authority, CONTROLLER, [DNS_DOMAIN], algorithm=KeyAlgorithm.RSA),
        "scansrv": issue_server(authority, SCAN_SERVER, [ADDRESS]),
    }.items():
        write_pair(pair, pki / f"{name}.pem", pki / f"{name}.key")
    return authority


def _revocation_list(authority: KeyPair) -> x509.CertificateRevocationList:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - timedelta(hours=1))
        .next_update(now + timedelta(days=30))
        .add_extension(x509.CRLNumber(1), critical=False)
    )
    return builder.sign(authority.key, hashes.SHA256())


def _samba_provision(domain: DomainFolder) -> None:
    folder = domain.path
    # Without a file of its own Samba would mix in that of the machine.
    empty = folder / "empty.conf"
    empty.touch()
    options = {
        "interfaces": "lo eth0",
        "bind interfaces only": "yes",
        "server services": _NOT_NEEDED,
        # As Windows: clear text is refused, and over TLS Kerberos need not sign and seal as well.
        "ldap server require strong auth": "allow_sasl_over_tls",
        "dns forwarder": ADDRESS,
        "pid directory": f"{folder}/run",
        "ncalrpc dir": f"{folder}/ncalrpc",
        "ntp signd socket directory": f"{folder}/ntp",
        "log file": f"{folder}/log.%m",
        "tls enabled": "yes",
        "tls cafile": f"{folder}/pki/ca.pem",
        "tls certfile": f"{folder}/pki/dc1.pem",
        "tls keyfile": f"{folder}/pki/dc1.key",
        "dns update command": "/bin/true",
        "spn update command": "/bin/true",
    }
    # Cut off from every network: else the addresses of this machine would get into the domain's DNS.
    command = ["unshare", "--net", "samba-tool", "domain", "provision", "-s", str(empty)]
    command += [f"--targetdir={folder}"]
    command += [f"--realm={REALM}", f"--domain={NETBIOS}", f"--host-name={CONTROLLER.partition('.')[0]}"]
    command += [f"--host-ip={ADDRESS}", f"--adminpass={ADMINISTRATOR.password}", "--server-role=dc"]
    command += ["--dns-backend=SAMBA_INTERNAL"]
    command += [f"--option={name} = {value}" for name, value in options.items()]
    said = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        env=os.environ | {"TDB_NO_FSYNC": "1", "KRB5_CONFIG": str(domain.krb5_conf)},
    )
    if said.returncode != 0:
        raise TestDomainError(f"samba-tool could not provision a domain: {said.stderr.strip()[-2_000:]}")
    # The forwarder was only named so that the machine's own would not be copied in.
    lines = domain.settings.read_text().splitlines()
    kept = [line for line in lines if not line.strip().startswith("dns forwarder")]
    domain.settings.write_text("\n".join([*kept, ""]))
