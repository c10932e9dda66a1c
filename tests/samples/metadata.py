"""What the captured answers to Get say of their devices, read by our client from a socket that plays them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postscan.contracts.metadata import (
    DeviceMetadata,
    HostedService,
    Relationship,
    ThisDevice,
    ThisModel,
    read_metadata,
    service_in,
)
from postscan.dpws.client import Unreachable
from postscan.soap.names import ANONYMOUS, WSCN, WXF, qname
from support.samples import expects, got, message, over_http, split_http

COMPUTER = "{http://schemas.microsoft.com/windows/pub/2005/07}Computer"
PUBLISHING = "{http://schemas.microsoft.com/windows/pub/2005/07}ShellPublishing"
PRINTER = "{http://schemas.microsoft.com/windows/2006/08/wdp/print}PrinterServiceType"
MICROSOFT = "http://www.microsoft.com"
CONTOSO = "http://www.contoso.com"
SIMPLE = "http://schemas.example.org/SimpleService"


async def metadata_in(said: bytes, relates_to: str) -> DeviceMetadata:
    """Play an answer to the Get that it answers, and return what our client reads."""
    answer = await got(said, relates_to)
    assert answer.headers.action == f"{WXF}/GetResponse"
    assert answer.headers.relates_to == relates_to
    assert answer.body is not None
    return read_metadata(answer.body)


def computer(address: str, service_id: str | None = None) -> HostedService:
    return HostedService((address,), (COMPUTER,), service_id or address)


@expects("samples/real/05-windows-getresponse.xml")
async def windows(data: bytes) -> None:
    # The capture has lost its message ids: {} stands for each.
    assert await metadata_in(over_http(data), "{}") == DeviceMetadata(
        ThisDevice({"": "Microsoft Publication Service Device Host"}, "1.0", "20050718"),
        ThisModel(
            manufacturers={"": "Microsoft Corporation"},
            manufacturer_url=MICROSOFT,
            model_names={"": "Microsoft Publication Service"},
            model_number="1",
            model_url=MICROSOFT,
            presentation_url=MICROSOFT,
            categories=("Computers",),
        ),
        Relationship(
            computer(
                "urn:uuid:38deb0ef-b101-44f7-8eb3-f4466e1eef0c",
                "urn:uuid:a55e9628-96d5-4cb0-89db-6214763a422c",
            )
        ),
    )


@expects("samples/real/06-synology-getresponse.xml")
async def synology(data: bytes) -> None:
    maker = "http://www.synology.com"
    assert await metadata_in(over_http(data), "{}") == DeviceMetadata(
        ThisDevice({"": "Synology DiskStation"}, "6", "6"),
        ThisModel(
            manufacturers={"": "Synology Inc"},
            manufacturer_url=maker,
            model_names={"": "Synology DiskStation"},
            model_number="1",
            model_url=maker,
            presentation_url=maker,
            categories=("Computers",),
        ),
        Relationship(computer("urn:uuid:dea604bb-e526-46a1-8bdb-121125389a9d")),
    )


@expects("samples/real/07-samsung-m2020w-getresponse.xml")
async def samsung(data: bytes) -> None:
    maker = "http://www.samsungprinter.com"
    assert await metadata_in(over_http(data), "{}") == DeviceMetadata(
        ThisDevice({"en-US": "Samsung M2020W"}, "V3.00.01.23 AUG-16-2018", "123456789101112"),
        ThisModel(
            manufacturers={"en-US": "Samsung Electronics Co., Ltd."},
            manufacturer_url=maker,
            model_names={"": "M2020 Series"},
            model_number="M2020 Series",
            model_url=maker,
            presentation_url="http://192.168.100.50",
            categories=("Printers",),
        ),
        Relationship(
            None, (HostedService(("http://192.168.100.50:8018/wsd/print",), (PRINTER,), "uri:Printer1"),)
        ),
    )


@expects("samples/real/09-kyocera-m2040dn-getresponse.xml")
async def kyocera(data: bytes) -> None:
    assert message(data).headers.to is None
    metadata = await metadata_in(over_http(data), "urn:uuid:cff33f49-2afb-4ac6-b105-a3cb1058cde6")
    maker = "http://www.kyoceradocumentsolutions.com"
    assert metadata.device == ThisDevice(
        {"": "Kyocera:ECOSYS M2040dn:KM7B6A91"}, "2S0_2000.001.828", "VCF9192281"
    )
    assert metadata.model == ThisModel(
        manufacturers={"": "Kyocera"},
        manufacturer_url=maker,
        model_names={"": "ECOSYS M2040dn"},
        model_number="ECOSYS M2040dn",
        model_url=maker,
        presentation_url="http://192.168.1.102",
        categories=("MFP", "MobilePrinter"),
    )
    assert metadata.relationship.host is None
    hosted = metadata.relationship.hosted
    assert len(hosted) == 24
    scanner = HostedService(
        (
            "http://192.168.1.102:5358/WSDScanner",
            "http://[fe80::217:c8ff:fe7b:6a91]:5358/WSDScanner",
        ),
        (qname(WSCN, "ScannerServiceType"),),
        "uri:4509a320-00a0-008f-00b6-002507510eca/WSDScanner",
    )
    assert hosted[0] == service_in(WSCN, metadata) == scanner
    ends = ("http://192.168.1.102:5358/", "http://[fe80::217:c8ff:fe7b:6a91]:5358/")
    for service in hosted:
        assert [a.startswith(end) for a, end in zip(service.addresses, ends, strict=True)] == [True, True]
        assert len(service.types) == 1
        assert service.service_id.startswith("uri:4509a320-00a0-008f-00b6-002507510eca/")


@expects("samples/msdocs/08-wsdapi-getresponse-wsdbit.xml")
async def wsdapi_basic_interop(data: bytes) -> None:
    answer = await metadata_in(over_http(data), "urn:uuid:027bec45-c37c-466c-936c-68f648abe2bb")
    maker = f"{MICROSOFT}/"
    assert answer == DeviceMetadata(
        ThisDevice({"": "WSDAPI Basic Interop Server"}, "alpha", "1"),
        ThisModel(
            manufacturers={"": "Microsoft"},
            manufacturer_url=maker,
            model_names={"": "WSDAPI Interop device"},
            model_number="0.1",
            model_url=maker,
            presentation_url=maker,
        ),
        Relationship(
            HostedService(
                ("urn:uuid:37f86d35-e6ac-4241-964f-1d9ae46fb366",),
                (qname(SIMPLE, "SimpleDeviceType"),),
                "http://testdevice.interop/SimpleDevice",
            ),
            (
                HostedService(
                    ("http://192.168.0.2:5357/37f86d35-e6ac-4241-964f-1d9ae46fb366",),
                    (qname(SIMPLE, "SimpleService"),),
                    "http://testdevice.interop/SimpleService1",
                ),
            ),
        ),
    )


PUBLISHER = DeviceMetadata(
    ThisDevice({"": "Contoso Publication Service Device Host"}, "1.0", "20050718"),
    ThisModel(
        manufacturers={"": "Contoso, Ltd"},
        manufacturer_url=CONTOSO,
        model_names={"": "Contoso Publication Service"},
        model_number="1",
        model_url=CONTOSO,
        presentation_url=CONTOSO,
        categories=("Computers",),
    ),
    Relationship(computer("urn:uuid:95ce917d-9e37-4099-aee4-db3292041ea6")),
)


@expects("samples/msdocs/10-ms-pbsd-getresponse-1.xml")
async def publication_host(data: bytes) -> None:
    assert await metadata_in(over_http(data), "urn:uuid:bac3eeec-5488-4a27-99c9-795d0651d914") == PUBLISHER


@expects("samples/msdocs/11-ms-pbsd-getresponse-2.xml")
async def publication_host_with_a_large_resource(data: bytes) -> None:
    published = HostedService(
        ("urn:uuid:95ce917d-9e37-4099-aee4-db3292041ea6",),
        (PUBLISHING,),
        "fdid:Provider%5CMicrosoft.Base.Publication/Publication%5CExplorer/"
        "C692EF15-7F02-42E9-9FA9-D5F313749B04_S-1-5-21-738895527-329673414-497557404-1000",
    )
    answer = await metadata_in(over_http(data), "urn:uuid:fc7cdb58-30b4-4e0d-a309-5bd7db689a0c")
    assert answer == replace(PUBLISHER, relationship=replace(PUBLISHER.relationship, hosted=(published,)))


@expects("samples/peers/09-wsdd-0.9-getresponse.http")
async def wsdd_without_length(data: bytes) -> None:
    """Read an answer without a length: it ends where the connection does."""
    first, headers, _ = split_http(data)
    assert first == b"HTTP/1.1 200 OK"
    assert not {"content-length", "transfer-encoding"} & set(headers)
    answer = await metadata_in(data, "urn:uuid:af3bf07a-2b88-488f-af4d-ed68315d2041")
    assert answer == DeviceMetadata(
        ThisDevice({"": "WSD Device DSMTEST"}, "1.0", "1"),
        ThisModel(manufacturers={"": "wsdd"}, model_names={"": "wsdd"}, categories=("Computers",)),
        Relationship(computer("urn:uuid:3d1219c7-c4c5-404a-aa1f-6d2a48adfda4")),
    )


@expects("samples/msdocs/09-windows-getresponse-wire-truncated.http")
async def torn_answer(data: bytes) -> None:
    """Refused: the print ends in the middle. The status line without a phrase is no reason to."""
    first, headers, body = split_http(data)
    assert first == b"HTTP/1.1 200"
    assert int(headers["content-length"]) > len(body)
    with pytest.raises(Unreachable, match="in the middle of its answer"):
        await got(data, "urn:uuid:8506ac50-3646-4621-9680-86f484d87909")
    whole = body.rpartition(b"<wsx:MetadataSection")[0] + b"</wsx:Metadata></soap:Body></soap:Envelope>"
    said = data.removesuffix(body) + whole.ljust(int(headers["content-length"]))
    answer = await got(said, "urn:uuid:8506ac50-3646-4621-9680-86f484d87909")
    assert answer.headers.message_id == "urn:uuid:2884cbcc-2848-4c35-9327-5ab5451a8729"
    assert answer.headers.to == ANONYMOUS
