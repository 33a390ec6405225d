"""Where the service is, and with which key: `FUMEHOOD_URL` and `FUMEHOOD_KEY`, or else the user's configuration file.

The only module of the client that reads the environment. The file is `config.toml` in the user's configuration directory
(`$XDG_CONFIG_HOME/fumehood` or `~/.config/fumehood` on Linux) and holds two lines, `url = "…"` and `key = "…"`. It holds a
secret, so a file that others can read is refused.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from fumehood.client.errors import NotConfigured
from fumehood.tenant import key_prefix

DEFAULT_URL = "http://127.0.0.1:8765"
FILE_BYTES_MAX = 64 * 1024
_NAMES = ("url", "key")


class Environment(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="FUMEHOOD_", extra="ignore", frozen=True, env_ignore_empty=True)

    url: str | None = None
    key: SecretStr | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    url: str
    key: str | None
    url_from: str
    key_from: str | None

    def __repr__(self) -> str:
        return f"Config(url={self.url!r}, key={shown_key(self.key)!r})"


def config_path() -> Path:
    return Path(platformdirs.user_config_dir("fumehood")) / "config.toml"


def read() -> Config:
    """What the next call will use; `key` is None where none is set.

    A key from the file goes only to the address in the file: `FUMEHOOD_URL` alone must not send it somewhere else.

    Raises:
        NotConfigured: the file can be read by others, or is not what `write` writes; or the key has no address of its own.
    """
    environment = Environment()
    path = config_path()
    values = _read_file(path)
    file_url, file_key = values.get("url", DEFAULT_URL), values.get("key")
    url, url_from = file_url, str(path) if "url" in values else "the default"
    if environment.url:
        url, url_from = environment.url, "FUMEHOOD_URL"
    key, key_from = file_key, str(path) if file_key else None
    if environment.key is not None:
        key, key_from = environment.key.get_secret_value(), "FUMEHOOD_KEY"
    elif key is not None and url.rstrip("/") != file_url.rstrip("/"):
        raise NotConfigured(f"FUMEHOOD_URL is {url}, but the key in {path} belongs to {file_url}; set FUMEHOOD_KEY as well")
    return Config(url=url, key=_usable_key(key, str(key_from)) if key else None, url_from=url_from, key_from=key_from)


def address_and_key(url: str | None = None, key: str | None = None) -> tuple[str, str]:
    """What a client uses: as given, or else as configured.

    Raises:
        NotConfigured: there is no key for this address, or what is configured cannot be used.
    """
    if url is not None and key is not None:
        return url, _usable_key(key, "the argument `key`")
    found = read()
    if key is not None:
        return found.url, _usable_key(key, "the argument `key`")
    # A configured key belongs to the configured address, and goes nowhere else.
    if found.key is None or (url is not None and url.rstrip("/") != found.url.rstrip("/")):
        raise NotConfigured(
            f"there is no key for {url or found.url}; give Client(url, key), set FUMEHOOD_URL and FUMEHOOD_KEY, "
            f"or write {config_path()} with: fumehood config write --url URL --key-file FILE"
        )
    return found.url, found.key


def write(url: str, key: str) -> Path:
    """Write the file, 0600, so that a reader sees the old one or the new one whole. Returns its path."""
    key = _usable_key(key, "the key file")
    path = config_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A JSON string in ASCII is a TOML string too. mkstemp makes the file 0600 from its first moment.
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in zip(_NAMES, (url.rstrip("/"), key), strict=True))
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=".config-")
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    return path


def shown_key(key: str | None) -> str:
    """Enough of a key to recognise it, and no more."""
    return f"fh_{key_prefix(key)}_…" if key else "none"


def _usable_key(key: str, where: str) -> str:
    key = key.strip()
    if key_prefix(key) is None:
        raise NotConfigured(f"{where} holds no key; expected fh_ and 12 hexadecimal digits, _ and 64 more")
    return key


def _read_file(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if os.name == "posix" and facts.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                mode = f"{stat.S_IMODE(facts.st_mode):04o}"
                raise NotConfigured(f"{path} holds a key and has the mode {mode}, so others can use it; run: chmod 600 {path}")
            values = tomllib.loads(file.read(FILE_BYTES_MAX).decode())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise NotConfigured(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise NotConfigured(f"{path} is not TOML ({error}); write it with: fumehood config write --url URL --key-file FILE") from None
    for name, value in values.items():
        if name not in _NAMES or not isinstance(value, str):
            raise NotConfigured(f"{path}: {name} is not understood; expected url and key, each a string")
    return values
