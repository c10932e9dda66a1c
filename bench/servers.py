"""Who is measured: the raw disk, nginx, and our server. The one place where servers are started.

Each is used for one cell of the table (size of image, connections, TLS): made, started, measured a few times,
asked for its peak memory, stopped.
"""

from __future__ import annotations

import json
import os
import pwd
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from bench.certificates import TlsClient, TlsServer
from bench.payload import FIRST_ID, MARKER, Image, Request, put_request, send_image_request, write_image
from bench.processes import ServerProcess
from bench.toolbox import BenchError, compiled, emptied, find_nginx, free_port, run_for_json

# A job takes 2,000 images and 4 GiB by default (settings limits.max_images_per_job, max_job_bytes).
_IMAGES_PER_JOB = 1_900
_BYTES_PER_JOB = 4_000_000_000
_SLOWEST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One case: octets of an image, connections (each sends its next image after the answer), TLS or not."""

    size: int
    connections: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Measurement:
    """One round of one contestant; latencies in milliseconds.

    ``cpu_ms_per_image`` is the server's processor time, user and system; None where there is no server.
    """

    images: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_ms_per_image: float | None = None
    cipher: str = ""

    @property
    def images_per_second(self) -> float:
        """Images stored and answered in a second."""
        return self.images / self.seconds


class Contestant(Protocol):
    """What can be measured."""

    def start(self) -> None:
        """Make it ready for its first image."""

    def measure(self, seconds: float) -> Measurement:
        """Store images for so many seconds, after a short warm-up; leave the disk empty again."""

    def peak_memory(self) -> int | None:
        """Return the most resident memory its processes ever had, in octets; None when it has none."""

    def stop(self) -> None:
        """End it; harmless when it never started."""


class RawDisk:
    """The limit: files written, synced, renamed and their folder synced, with no network before it."""

    def __init__(self, cell: Cell, image: Image, work: Path) -> None:
        self._cell = cell
        self._folder = work / "raw"
        self._file = write_image(image, work)

    def start(self) -> None:
        """Nothing runs between measurements."""

    def measure(self, seconds: float) -> Measurement:
        """Store files for so many seconds."""
        emptied(self._folder)
        command = [str(compiled("rawdisk")), str(self._folder), str(self._file)]
        command += [str(self._cell.connections), f"{seconds:.3f}", f"{seconds / 5:.3f}"]
        result = _measurement(run_for_json(command, timeout=seconds + _SLOWEST_SECONDS), None)
        emptied(self._folder)
        return result

    def peak_memory(self) -> int | None:
        """Return None: there is no server."""
        return None

    def stop(self) -> None:
        """Nothing runs between measurements."""


class Nginx:
    """nginx storing the same images by WebDAV PUT.

    ``durable`` preloads the shim that syncs each file and its folder; without it nginx syncs nothing.
    """

    def __init__(
        self,
        cell: Cell,
        image: Image,
        work: Path,
        *,
        tls: tuple[TlsServer, TlsClient] | None,
        workers: int = 1,
        durable: bool = True,
    ) -> None:
        self._cell, self._image, self._work = cell, image, work
        self._tls = tls
        self._workers = workers
        self._durable = durable
        self._home = work / f"nginx-{workers}{'' if durable else '-stock'}"
        self._stored = self._home / "stored"
        self._count_file = self._home / "syncs"
        self._port = 0
        self._process: ServerProcess | None = None

    def start(self) -> None:
        """Write nginx's configuration and run it."""
        emptied(self._home)
        self._stored.mkdir()
        self._count_file.write_bytes(bytes(8))
        self._port = free_port()
        configuration = self._home / "nginx.conf"
        configuration.write_text(self._configuration(), encoding="utf-8")
        env = dict(os.environ)
        if self._durable:
            env |= {
                "LD_PRELOAD": str(compiled("durable_rename.so")),
                "BENCH_SYNC_COUNT": str(self._count_file),
            }
        command = [find_nginx() or "nginx", "-p", str(self._home), "-c", str(configuration), "-e", "stderr"]
        self._process = ServerProcess(command, output=self._home / "output", env=env)
        self._process.wait_for_port(self._port)

    def measure(self, seconds: float) -> Measurement:
        """PUT images for so many seconds; raises BenchError when files are missing or were not synced."""
        assert self._process is not None
        request = put_request(self._image, f"localhost:{self._port}", self._work)
        syncs = self._syncs()
        client = self._tls[1] if self._tls else None
        result = _load(self._process, self._port, request, self._cell, client, seconds)
        stored = sum(1 for _ in self._stored.iterdir())
        if stored < result.images:
            raise BenchError(f"nginx answered {result.images} times but stored {stored} files")
        if self._durable and self._syncs() - syncs != stored:
            raise BenchError(f"the shim synced {self._syncs() - syncs} of {stored} files of nginx")
        emptied(self._stored)
        return result

    def peak_memory(self) -> int | None:
        """Return the peak of master and workers together."""
        return self._process.peak_memory() if self._process else None

    def stop(self) -> None:
        """End nginx and remove what it stored."""
        if self._process is not None:
            self._process.stop()
            self._process = None
            emptied(self._home)

    def _syncs(self) -> int:
        count: int = struct.unpack("=Q", self._count_file.read_bytes())[0]
        return count

    def _configuration(self) -> str:
        tls = ""
        if self._tls:
            server = self._tls[0]
            tls = (
                f"ssl_certificate {server.certificate}; ssl_certificate_key {server.key};\n"
                f"ssl_client_certificate {server.client_ca}; ssl_verify_client on; ssl_protocols TLSv1.3;\n"
            )
        # Started by root, workers would become another user, who may not reach the folder.
        user = f"user {pwd.getpwuid(0).pw_name};\n" if os.geteuid() == 0 else ""
        temporary = "".join(
            f"{kind}_temp_path {self._home}/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi")
        )
        return (
            f"daemon off;\n{user}worker_processes {self._workers};\n"
            f"pid {self._home}/nginx.pid;\nerror_log stderr warn;\n"
            "events { worker_connections 256; }\n"
            "http {\n"
            f"access_log off;\n{temporary}client_body_temp_path {self._home}/incoming;\n"
            "client_body_buffer_size 512k; client_max_body_size 1g;\n"
            "keepalive_requests 1000000000; keepalive_timeout 120s;\n"
            f"server {{\nlisten 127.0.0.1:{self._port}{' ssl' if self._tls else ''};\n{tls}"
            f"root {self._stored};\nlocation / {{ dav_methods PUT; }}\n}}\n}}\n"
        )


class PostscanInstallation:
    """An installation by `postscan init`, used by every run of our server."""

    USER = "bench"
    DOMAIN = "bench.example"

    def __init__(self, work: Path) -> None:
        self.folder = work / "installation"
        self.port = free_port()
        command = [*postscan_command(), "init", str(self.folder), "--json", "--user", self.USER]
        command += ["--fqdn", "localhost", "--domain", self.DOMAIN, "--listen", f"127.0.0.1:{self.port}"]
        made = subprocess.run(command, capture_output=True, text=True, env=environment({}), check=False)
        if made.returncode != 0:
            raise BenchError(f"postscan init failed: {made.stderr.strip()[-1000:]}")

    @property
    def client(self) -> TlsClient:
        """The user's certificate, and the authority to trust."""
        pki = self.folder / "pki"
        return TlsClient(
            pki / "ca.pem", pki / "users" / f"{self.USER}.pem", pki / "users" / f"{self.USER}.key"
        )


class Postscan:
    """Our server, `postscan serve`, as `init` sets it up; without TLS, in unauthenticated mode."""

    def __init__(self, cell: Cell, image: Image, work: Path, *, installation: PostscanInstallation) -> None:
        self._cell, self._image, self._work = cell, image, work
        self._installation = installation
        self._address = ""
        self._process: ServerProcess | None = None

    def start(self) -> None:
        """Run the server on an empty data folder; returns when it says that it is ready."""
        data = self._installation.folder / "data"
        emptied(data)
        data.chmod(0o700)
        command = [
            *postscan_command(),
            "serve",
            "--json",
            "--config",
            str(self._installation.folder / "server.toml"),
        ]
        settings = {"POSTSCAN_SERVER__METRICS_LISTEN": ""}
        if not self._cell.tls:
            settings |= {
                "POSTSCAN_TLS__ENABLED": "false",
                "POSTSCAN_SERVER__MODE": "unauthenticated",
                "POSTSCAN_DEVICES__ALLOW": '["127.0.0.1"]',
            }
        self._process = ServerProcess(
            command, output=self._work / "postscan-output", env=environment(settings)
        )
        ready = self._process.wait_for_line('"ready"')
        self._address = json.loads(ready)["address"]

    def measure(self, seconds: float) -> Measurement:
        """Send images for so many seconds into one new job a connection, then cancel the jobs."""
        # Not at the top: nginx and the disk can be measured where the server does not run.
        from bench.device import BenchDevice

        assert self._process is not None
        tls = self._installation.client if self._cell.tls else None
        device = BenchDevice(
            self._address,
            directory=self._installation.folder / "directory",
            domain=self._installation.DOMAIN,
            name=self._installation.USER,
            tls=tls,
        )
        jobs = device.create_jobs(self._cell.connections)
        request = send_image_request(self._image, jobs.service, jobs.tokens, self._work)
        port = urlsplit(jobs.service).port or self._installation.port
        result = _load(self._process, port, request, self._cell, tls, seconds)
        device.cancel_jobs(jobs)
        return result

    def peak_memory(self) -> int | None:
        """Return the peak of the server's processes together."""
        return self._process.peak_memory() if self._process else None

    def stop(self) -> None:
        """End the server and remove what it stored."""
        if self._process is not None:
            self._process.stop()
            self._process = None
            emptied(self._installation.folder / "data")


def postscan_command() -> list[str]:
    """Return how `postscan` is called in this environment."""
    return [sys.executable, "-m", "postscan"]


def environment(settings: dict[str, str]) -> dict[str, str]:
    """Return the environment without settings of another installation, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("POSTSCAN_")}
    return kept | settings


def _load(
    process: ServerProcess,
    port: int,
    request: Request,
    cell: Cell,
    tls: TlsClient | None,
    seconds: float,
) -> Measurement:
    most = max(4, min(_IMAGES_PER_JOB, _BYTES_PER_JOB // cell.size))
    command = [str(compiled("loadgen")), "--address", "127.0.0.1", "--port", str(port)]
    command += ["--connections", str(cell.connections), "--marker", MARKER, "--first-id", str(FIRST_ID)]
    command += ["--seconds", f"{seconds:.3f}", "--warmup", f"{seconds / 5:.3f}", "--max-requests", str(most)]
    command += request.arguments()
    if tls is not None:
        command += ["--tls-ca", str(tls.ca), "--tls-cert", str(tls.certificate), "--tls-key", str(tls.key)]
    before = process.cpu_seconds()
    try:
        result = run_for_json(command, timeout=seconds + _SLOWEST_SECONDS)
    except BenchError as error:
        raise BenchError(f"{error}\nThe server's last words: {process.last_words()}") from error
    return _measurement(result, process.cpu_seconds() - before)


def _measurement(result: dict[str, Any], cpu_seconds: float | None) -> Measurement:
    cpu = None if cpu_seconds is None else 1000 * cpu_seconds / result["with_warmup"]
    return Measurement(
        images=result["requests"],
        seconds=result["seconds"],
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        max_ms=result["max_ms"],
        cpu_ms_per_image=cpu,
        cipher=result.get("cipher", ""),
    )
