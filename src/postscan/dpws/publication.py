"""What a hosted service publishes of itself: its WSDL and schemas, by HTTP GET and in the answer to Get.

All of it is the text of a public protocol, the same for every installation but for the address that whoever
asks has used already. So it is told without asking who that is, as the device's own metadata are; with TLS,
the connection still has to be made.

An address of the service with ``?wsdl`` gives the WSDL with its schemas inside, ``?xsd=NAME`` one schema
alone. Any other query gives nothing: names are looked up among those of the service, never among files.
"""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from typing import Final

from lxml import etree

from postscan.contracts import metadata, wsdl
from postscan.dpws.http.messages import Response
from postscan.dpws.service import HostedService
from postscan.soap.names import WSDL, WSX, qname
from postscan.soap.xml import serialize

CONTENT_TYPE: Final = "text/xml; charset=utf-8"
_LONGEST_QUERY: Final = 64


def contract_of(service: HostedService) -> wsdl.ServiceContract:
    """Return what a service answers and tells, in the terms of WSDL."""
    exchanges = tuple(
        wsdl.Exchange(
            request=operation.request,
            action=operation.action,
            response=qname(service.namespace, operation.response_action.rpartition("/")[2]),
            response_action=operation.response_action,
        )
        for operation in service.operations.values()
    )
    return wsdl.ServiceContract(service.types[0], exchanges, service.notifications)


def answer_get(service: HostedService, address: str, query: str) -> Response | None:
    """Answer an HTTP GET of a service at ``address``.

    :param query: what follows the ``?`` of the request's target, undecoded; it is a stranger's.
    :return: 404 for a schema the service has not; None when nothing is published under such a query.
    """
    key, equals, name = query[: _LONGEST_QUERY + 1].partition("=")
    contract = contract_of(service)
    if key.lower() == "wsdl" and not equals:
        return Response(HTTPStatus.OK, _wsdl_text(contract, address), CONTENT_TYPE)
    if key.lower() != "xsd" or not equals:
        return None
    if name not in wsdl.schema_names(contract.namespace):
        return Response(HTTPStatus.NOT_FOUND)
    return Response(HTTPStatus.OK, _schema_text(name), CONTENT_TYPE)


def service_metadata(service: HostedService, address: str, *, whole: bool) -> etree._Element:
    """Return wsx:Metadata of a service: its WSDL when ``whole``, else where that is (dpws.md, 2.4)."""
    contract = contract_of(service)
    root = etree.Element(metadata.METADATA, nsmap={"wsx": WSX})
    section = etree.SubElement(root, qname(WSX, "MetadataSection"), Dialect=WSDL)
    section.set("Identifier", contract.namespace)
    if whole:
        section.append(wsdl.write_wsdl(contract, address))
    else:
        etree.SubElement(section, qname(WSX, "Location")).text = f"{address}?wsdl"
    return root


@lru_cache(maxsize=16)
def _wsdl_text(contract: wsdl.ServiceContract, address: str) -> bytes:
    return serialize(wsdl.write_wsdl(contract, address))


@lru_cache(maxsize=32)
def _schema_text(name: str) -> bytes:
    return serialize(wsdl.write_schema(name, "?xsd={}".format))
