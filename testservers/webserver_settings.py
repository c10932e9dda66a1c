"""The settings of the web server: a port for each way of logging on, all with the same files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

MODULES: Final = Path("/usr/lib/apache2/modules")
_LOADED: Final = (
    *("mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "auth_gssapi"),
    *("alias", "mime", "ssl", "dav", "dav_fs", "rewrite", "headers"),
)
_IF_BUSY: Final = "\"expr=%{REQUEST_STATUS} in {'503', '429'}\""
BUSY_SECONDS: Final = 7
SMALL_OCTETS: Final = 100_000
ACCOUNT_OF_APACHE: Final = "www-data"


class Logon(StrEnum):
    """How a port wants to know who asks."""

    BASIC = "basic"
    NTLM = "ntlm"
    KERBEROS = "kerberos"
    """Each request is proven."""
    KERBEROS_ONCE = "kerberos-once"
    """A connection is proven, as Windows does it."""
    NOBODY = "nobody"
    """Nobody is asked, and there is no TLS."""


def httpd_conf(folder: Path, host: str, address: str, ports: Mapping[Logon, int], leads_to: str) -> str:
    """Return the settings of a server that keeps everything in ``folder``."""
    lines = [
        f'ServerRoot "{folder}"',
        f'PidFile "{folder}/run/httpd.pid"',
        f"ServerName {host}",
        f"User {ACCOUNT_OF_APACHE}",
        f"Group {ACCOUNT_OF_APACHE}",
        f'ErrorLog "{folder}/error.log"',
        f'DefaultRuntimeDir "{folder}/run"',
        *(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in _LOADED),
        'LogFormat "%m\\t%U\\t%>s\\t%I\\t%u" asked',
        f'CustomLog "{folder}/access.log" asked',
        "TypesConfig /dev/null",
        f'DavLockDB "{folder}/run/locks"',
        "StartServers 1\nServerLimit 2\nThreadsPerChild 16\nMaxRequestWorkers 32\nMinSpareThreads 1",
        "KeepAlive On\nKeepAliveTimeout 60\nMaxKeepAliveRequests 0\nTimeout 60",
        f'DocumentRoot "{folder}/root"',
        f'<Directory "{folder}/root">\n  Dav On\n  Options None\n  AllowOverride None\n</Directory>',
        '<Location "/sites/small">',
        f"  LimitRequestBody {SMALL_OCTETS}",
        "</Location>",
        f'Header always set Retry-After "{BUSY_SECONDS}" {_IF_BUSY}',
    ]
    for logon, port in ports.items():
        lines += [
            f"Listen {address}:{port}",
            f"<VirtualHost {address}:{port}>",
            *_host_settings(folder, logon, leads_to),
            "</VirtualHost>",
        ]
    return "\n".join([*lines, ""])


def _host_settings(folder: Path, logon: Logon, leads_to: str) -> Iterator[str]:
    if logon is not Logon.NOBODY:
        yield "SSLEngine on"
        yield f'SSLCertificateFile "{folder}/server.pem"'
        yield f'SSLCertificateKeyFile "{folder}/server.key"'
    yield f'Redirect 302 "/sites/moved" "{leads_to}"'
    yield "RewriteEngine On"
    for status in (503, 429):
        yield f'RewriteCond "{folder}/answer-{status}" -f'
        yield f"RewriteRule ^ - [R={status},L]"
    yield '<Location "/">'
    yield from _LOGON_SETTINGS[logon]
    if logon in (Logon.KERBEROS, Logon.KERBEROS_ONCE):
        yield f'GssapiCredStore "keytab:{folder}/http.keytab"'
    yield "</Location>"


_LOGON_SETTINGS: Final[Mapping[Logon, Sequence[str]]] = {
    Logon.BASIC: (
        "AuthType Basic",
        "AuthName library",
        "AuthUserFile basic-users",
        "Require valid-user",
    ),
    Logon.NTLM: (
        "AuthType GSSAPI",
        "AuthName library",
        "GssapiAllowedMech ntlmssp",
        "GssapiConnectionBound On",
        "Require valid-user",
    ),
    Logon.KERBEROS: (
        "AuthType GSSAPI",
        "AuthName library",
        "GssapiAllowedMech krb5",
        "Require valid-user",
    ),
    Logon.KERBEROS_ONCE: (
        "AuthType GSSAPI",
        "AuthName library",
        "GssapiAllowedMech krb5",
        "GssapiConnectionBound On",
        "Require valid-user",
    ),
    Logon.NOBODY: ("Require all granted",),
}
