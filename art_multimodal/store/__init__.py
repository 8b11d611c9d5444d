"""What is kept on the disk: files that are whole or not there, lines and documents that know when they were changed.

:class:`StoredRun` is the folder of a run made of them.

Not public: how files are kept may change; what reads a run is in ``evaluations``.
"""

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
    write_atomically,
    write_by_itself,
)
from art_multimodal.store.lock import FolderLock
from art_multimodal.store.merging import merge, own_log, shared_out
from art_multimodal.store.stored_run import HEADER_FILE, LINES_FILE, StoredRun, check_folder
from art_multimodal.store.tensors import tensors_in
from art_multimodal.store.unfinished import Unfinished, Watch

__all__ = [
    "HEADER_FILE",
    "LINES_FILE",
    "FolderLock",
    "StoredRun",
    "Unfinished",
    "Watch",
    "cannot_write",
    "check_folder",
    "check_place",
    "merge",
    "open_regular",
    "opened_document",
    "opened_line",
    "own_log",
    "read_regular",
    "read_text_option",
    "refuse_links",
    "replace_file",
    "sealed_document",
    "sealed_line",
    "shared_out",
    "sync_folder",
    "tensors_in",
    "write_atomically",
    "write_by_itself",
]
