"""Sending files to a repository of the Hub: what would change is computed and shown first."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from darumeru.core.errors import RunFailed, UserError
from darumeru.core.numbers import size
from darumeru.core.secrets import redacted

LONGEST_DIFF = 400
"""Lines of a file's diff that are shown."""


@dataclass
class Remote:
    """A repository and what is in it. kind: "model", "dataset" or "space". token: as huggingface_hub finds one where
    it is not given. exists: None while the Hub was not asked; reason: why it could not be."""

    repository: str
    kind: str
    api: Any
    exists: bool | None = None
    reason: str = ""
    _read: dict[str, bytes | None] = field(default_factory=dict)

    @classmethod
    def open(cls, repository: str, kind: str) -> Remote:
        """Ask the Hub whether it is there. UserError for a name that is none, or that one may not see."""
        from huggingface_hub import HfApi
        from huggingface_hub.utils import HFValidationError, validate_repo_id

        try:
            validate_repo_id(repository)
        except HFValidationError as error:
            raise UserError(str(error).splitlines()[0], "--repo", "OWNER/NAME") from error
        if "/" not in repository:
            raise UserError(f"`{repository}` names no owner", "--repo", "OWNER/NAME")
        remote = cls(repository, kind, HfApi())
        try:
            remote.exists = bool(remote.api.repo_exists(repository, repo_type=kind))
        except Exception as error:  # whatever the client raises: without the Hub a dry run still says what it can
            remote.reason = _plain(error)
        return remote

    def text(self, path: str) -> str | None:
        """A text file of the repository; None where there is none, or the Hub cannot be asked."""
        content = self.content(path)
        return None if content is None else content.decode("utf-8", "replace")

    def content(self, path: str) -> bytes | None:
        """The same of any file."""
        if path not in self._read:
            self._read[path] = self._download(path) if self.exists else None
        return self._read[path]

    def _download(self, path: str) -> bytes | None:
        from huggingface_hub.errors import EntryNotFoundError

        with TemporaryDirectory() as folder:
            try:
                found = self.api.hf_hub_download(self.repository, path, repo_type=self.kind, cache_dir=folder)
            except EntryNotFoundError:
                return None
            except Exception as error:  # of the client's many kinds; the command cannot go on without the file
                raise RunFailed(f"{path} of {self.repository} cannot be read: {_plain(error)}") from error
            return Path(found).read_bytes()

    def send(self, files: Mapping[str, bytes], message: str, private: bool, pull_request: bool) -> str:
        """One commit with these files; returns its address. RunFailed with the Hub's reason."""
        from huggingface_hub import CommitOperationAdd

        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        try:
            if not self.exists:
                more = {"space_sdk": "static"} if self.kind == "space" else {}
                self.api.create_repo(self.repository, repo_type=self.kind, private=private, exist_ok=True, **more)
            done = self.api.create_commit(
                self.repository, operations, commit_message=message, repo_type=self.kind, create_pr=pull_request
            )
        except Exception as error:  # of the client's many kinds: one line, and nothing is half sent (one commit)
            raise RunFailed(f"the Hub did not take it: {_plain(error)}") from error
        return str(done.pr_url or done.commit_url)


def _plain(error: Exception) -> str:
    """The first line of an error without keys."""
    lines = str(redacted(str(error))).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def changed(remote: Remote, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files that are not in the repository as they are here."""
    return {path: content for path, content in files.items() if remote.content(path) != content}


def differences(remote: Remote, files: Mapping[str, bytes]) -> Iterator[str]:
    """What would change, as lines of a diff; pages, answers and binary files by their size."""
    for path, content in files.items():
        old = remote.text(path)
        if Path(path).suffix not in (".md", ".yaml", ".json"):
            yield f"{'new' if old is None else 'changed'}: {path} ({size(len(content))})"
            continue
        lines = list(
            difflib.unified_diff((old or "").splitlines(), content.decode("utf-8", "replace").splitlines(),
                                 f"a/{path}" if old else "/dev/null", f"b/{path}", lineterm="")
        )  # fmt: skip
        yield from lines[:LONGEST_DIFF]
        if len(lines) > LONGEST_DIFF:
            yield f"... {len(lines) - LONGEST_DIFF} more lines of {path} ({size(len(content))})"
