"""A scan process as some other console might write it: valid, and unlike ours wherever that is allowed."""

from __future__ import annotations

from typing import Final

from postscan.soap.names import FSF, PSP, WSCN
from testdomain.facts import SCAN_SERVER

# A default namespace, prefixes declared late, single quotes, CDATA, a comment, elements and attributes of a
# vendor, lines that end as Windows ends them, and tabs.
_TEXT: Final = f"""<?xml version='1.0' encoding='UTF-8' standalone='yes'?>
<!-- Office console 4.2 -->
<PostScanProcess xmlns='{PSP}' xmlns:v="urn:example:office-console" v:revision='17'>
\t<ScanRepository>{SCAN_SERVER}</ScanRepository>
\t<ScanTicket><s:JobDescription xmlns:s='{WSCN}'><s:JobName><![CDATA[Paper & more]]></s:JobName\
><s:JobOriginatingUserName/></s:JobDescription>
\t\t<t:DocumentParameters xmlns:t='{WSCN}'><t:Format>pdf-a</t:Format><t:InputSource>ADF</t:InputSource>
\t\t\t<t:MediaSides><t:MediaFront><t:ColorProcessing>RGB24</t:ColorProcessing><t:Resolution\
><t:Width>200</t:Width><t:Height>200</t:Height></t:Resolution></t:MediaFront></t:MediaSides>
\t\t</t:DocumentParameters></ScanTicket>
\t<PostScanInstructions><ContinueOnError>1</ContinueOnError><DocumentRootName>Gr&#xFC;&#223;e</DocumentRootName>
\t\t<FiltersToProcess><Filter v:color="blue"><Dialect>{FSF}</Dialect>
\t\t\t<Instructions><FileShareConfig xmlns='{FSF}'><FileShares\
><ShareUNC>\\\\{SCAN_SERVER}\\scans</ShareUNC></FileShares></FileShareConfig></Instructions></Filter>
\t\t</FiltersToProcess><v:Cover sheet='none'/></PostScanInstructions>
\t<v:Console><v:Owner>Office</v:Owner></v:Console>
</PostScanProcess>"""
FOREIGN_XML: Final = _TEXT.replace("\n", "\r\n").encode()
