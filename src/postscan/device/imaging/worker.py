"""The process that decodes: `python -m postscan.device.imaging.worker FOLDER` (see `sandbox`).

It limits itself before it loads a single decoder, does one task, writes its answer and ends.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from postscan.device.errors import ImageError
from postscan.device.imaging.limits import MAX_PIXELS
from postscan.device.imaging.sandbox import ANSWER_FILE, REQUEST_FILE


def _inspect_pdf(_folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    from postscan.device.imaging import pdf_reading

    pages, claim = pdf_reading.inspect(Path(arguments["path"]), arguments["name"])
    return {"pages": pages, "claim": claim}


def _transcode(folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    from postscan.device.imaging.conversion import convert
    from postscan.device.imaging.request import ConversionRequest

    return {"documents": [asdict(one) for one in convert(folder, ConversionRequest.from_json(arguments))]}


TASKS: dict[str, Callable[[Path, dict[str, Any]], dict[str, Any]]] = {
    "inspect-pdf": _inspect_pdf,
    "transcode": _transcode,
}


def _limit(which: int, value: int, grace: int = 0) -> None:
    """Lower one limit, the hard one to ``grace`` more; a lower one that the administrator has set stays."""
    _soft, hard = resource.getrlimit(which)
    ceiling = value + grace if hard == resource.RLIM_INFINITY else min(value + grace, hard)
    resource.setrlimit(which, (min(value, ceiling), ceiling))


def _limit_self(limits: dict[str, Any]) -> None:
    _limit(resource.RLIMIT_AS, limits["memory"])
    _limit(resource.RLIMIT_CPU, limits["cpu"], grace=5)  # first SIGXCPU, which tells why; then SIGKILL
    _limit(resource.RLIMIT_FSIZE, limits["output"])
    _limit(resource.RLIMIT_CORE, 0)


def _guard_decoders() -> None:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def _answer_to(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    try:
        _guard_decoders()
        return {"result": TASKS[order["task"]](folder, order["arguments"])}
    except ImageError as error:
        return {"error": str(error), "advice": error.what_to_do}
    except MemoryError:
        return {
            "error": "The image was given up: decoding it needs too much memory.",
            "advice": "Scan at a lower resolution, or split the document into smaller files.",
        }
    except Exception as error:
        # Decoders raise anything on bad files; here is the one place that turns it into our error.
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        return {
            "error": f"The image could not be converted: {reason}.",
            "advice": "The file is probably damaged: scan or copy the page again.",
        }


def main(folder: Path) -> None:
    """Do the task that lies in ``folder`` and leave the answer there."""
    order = json.loads((folder / REQUEST_FILE).read_bytes())
    _limit_self(order["limits"])
    (folder / ANSWER_FILE).write_text(json.dumps(_answer_to(folder, order)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
