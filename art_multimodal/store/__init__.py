"""What is kept on the disk: files that are whole or not there, lines and documents that know when they were changed."""

from art_multimodal.store.documents import opened_document, opened_line, sealed_document, sealed_line
from art_multimodal.store.files import (
    cannot_write,
    check_place,
    open_regular,
    read_regular,
    read_text_option,
    refuse_links,
    replace_file,
    sync_folder,
)
from art_multimodal.store.lock import FolderLock

__all__ = [
    "FolderLock",
    "cannot_write",
    "check_place",
    "open_regular",
    "opened_document",
    "opened_line",
    "read_regular",
    "read_text_option",
    "refuse_links",
    "replace_file",
    "sealed_document",
    "sealed_line",
    "sync_folder",
]
