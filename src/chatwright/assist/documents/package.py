"""The parts of an Office file: a zip and its XML, read as if its author wished us ill."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from typing import Any

from chatwright.assist.documents.kinds import unsupported
from chatwright.assist.documents.result import DocumentError, DocumentLimits

_OTHERS = {
    "xl/": ("a spreadsheet", "save the sheet as .csv, or the whole as .pdf"),
    "ppt/": ("a presentation", "save it as .pdf"),
    "META-INF/": ("an archive", "unpack it and upload its documents one by one"),
    "mimetype": ("an OpenDocument file or an e-book", "save it as .docx or .pdf"),
}
_RELATIONS = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
_DOCUMENT = "/officeDocument"  # how the type of the main part's relation ends, old and strict form


class Package:
    """Parts by name, each unpacked when it is asked for and never beyond what is left."""

    def __init__(self, name: str, data: bytes, limits: DocumentLimits) -> None:
        self._name = name
        self._left = limits.unpacked
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise self._damaged(str(error)[:100]) from error
        members = self._zip.infolist()
        if len(members) > limits.members:
            raise self._too_large(f"it has {len(members):,} parts")
        self._members = {member.filename: member for member in members}
        if len(self._members) < len(members):
            raise self._damaged("two of its parts have one name")
        for part in self._members:
            # Nothing is ever written; but who names a part so means no good.
            if part.startswith(("/", "\\")) or ".." in part.replace("\\", "/").split("/"):
                raise self._damaged("a part's name leads out of the file")
        if "[Content_Types].xml" not in self._members:
            raise self._other()

    def main(self) -> str:
        """The name of the document's main part."""
        root = self.xml("_rels/.rels")
        for relation in [] if root is None else root.iter(_RELATIONS):
            if str(relation.get("Type", "")).endswith(_DOCUMENT):
                target = posixpath.normpath(str(relation.get("Target", "")).lstrip("/"))
                if target.startswith("word/") and target in self._members:
                    return target
        raise self._other()

    def xml(self, part: str) -> Any | None:
        """A part's root element; None where there is no such part.

        A part with a document type is refused: it could define entities (a billion laughs) or name
        files and addresses (XXE), and no Office program writes one.
        """
        data = self._read(part)
        if data is None:
            return None
        from lxml import etree

        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
            remove_comments=True, remove_pis=True,
        )  # fmt: skip
        head = data[:4096].replace(b"\0", b"")  # of UTF-16 too
        if b"<!DOCTYPE" in head or b"<!ENTITY" in data:
            raise self._damaged("it defines entities, which no Office program does")
        try:
            root = etree.fromstring(data, parser)
        except etree.XMLSyntaxError as error:
            raise self._damaged("a part of it is no XML") from error
        if root.getroottree().docinfo.internalDTD is not None:
            raise self._damaged("it defines entities, which no Office program does")
        return root

    def _read(self, part: str) -> bytes | None:
        member = self._members.get(part)
        if member is None:
            return None
        if member.flag_bits & 1:
            raise DocumentError(
                "it is locked with a password",
                where=self._name,
                hint="save it without the password",
            )
        try:
            # What the directory says of its size is not believed: at most what is left is unpacked.
            with self._zip.open(member) as file:
                data = file.read(self._left + 1)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError) as error:
            raise self._damaged("a part of it cannot be unpacked") from error
        if len(data) > self._left:
            raise self._too_large("it unpacks to more than is allowed")
        self._left -= len(data)
        return data

    def _other(self) -> DocumentError:
        for start, (what, hint) in _OTHERS.items():
            if any(part.startswith(start) for part in self._members):
                return unsupported(self._name, what, hint)
        return unsupported(
            self._name, "an archive", "unpack it and upload its documents one by one"
        )

    def _damaged(self, why: str) -> DocumentError:
        return DocumentError(
            f"it is damaged or made to do harm: {why}",
            where=self._name,
            hint="save it anew from the program that made it",
        )

    def _too_large(self, why: str) -> DocumentError:
        return DocumentError(why, where=self._name, hint="split it", reason="too_large")
