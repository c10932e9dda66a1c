"""The peer WSDiscovery, driven by words on its command line; prints one JSON object a line.

search SECONDS {namespace}Type...   every service found with all these types
watch                               every Hello and Bye, until standard input ends
publish {namespace}Type XADDR       publish one service, until standard input ends
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from wsdiscovery import QName
from wsdiscovery.discovery import ThreadedWSDiscovery
from wsdiscovery.publishing import ThreadedWSPublishing

# The peer calls back from a thread a socket, and print() writes a line and its end apart.
_one_line_at_a_time = threading.Lock()


def say(**what: object) -> None:
    with _one_line_at_a_time:
        print(json.dumps(what), flush=True)


def type_of(clark: str) -> QName:
    namespace, _, local = clark.removeprefix("{").partition("}")
    return QName(namespace, local)


def tell(event: str, service: Any) -> None:
    types = [f"{{{name.getNamespace()}}}{name.getLocalname()}" for name in service.getTypes()]
    say(event=event, endpoint=service.getEPR(), addresses=service.getXAddrs(), types=types)


def search(seconds: str, *types: str) -> None:
    peer = ThreadedWSDiscovery()
    peer.start()
    for service in peer.searchServices(types=[type_of(name) for name in types], timeout=float(seconds)):
        tell("found", service)
    peer.stop()


def watch() -> None:
    peer = ThreadedWSDiscovery()
    peer.setRemoteServiceHelloCallback(lambda service: tell("hello", service))
    peer.setRemoteServiceByeCallback(lambda endpoint: say(event="bye", endpoint=endpoint))
    peer.start()
    say(event="ready")
    sys.stdin.read()
    peer.stop()


def publish(clark: str, address: str) -> None:
    peer = ThreadedWSPublishing()
    peer.start()
    peer.publishService(types=[type_of(clark)], scopes=[], xAddrs=[address])
    say(event="ready")
    sys.stdin.read()
    peer.stop()


{"search": search, "watch": watch, "publish": publish}[sys.argv[1]](*sys.argv[2:])
