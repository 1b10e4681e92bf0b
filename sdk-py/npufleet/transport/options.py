"""How to reach a broker: one frozen object that both transports and the model registry read."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from npufleet.errors import InvalidParameterError
from npufleet.wire.subject import check_prefix

if TYPE_CHECKING:
    import ssl

DEFAULT_URL = "nats://127.0.0.1:4222"
SCHEMES = ("nats", "tls")

# A user name may become part of an inbox subject only when it is one safe NATS token.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """Address, credentials and names of one connection to the broker.

    `credentials` is a NATS `.creds` file; `tls_*` are PEM files. A user and password inside `url` are moved to
    `user` and `password`, so that `url` can be shown. `inbox_prefix` defaults to `_INBOX_<user>` when there is a
    user, so that per-user permissions can keep inboxes apart, and to `_INBOX` otherwise.
    Raises `InvalidParameterError` for an address that is not `nats://host[:port]` or `tls://host[:port]`.
    """

    url: str = DEFAULT_URL
    user: str | None = None
    password: str | None = None
    token: str | None = None
    credentials: str | None = None
    tls_ca: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    inbox_prefix: str | None = None
    prefix: str = "npu"
    name: str = "npufleet-sdk"

    def __post_init__(self) -> None:
        parts = urlsplit(self.url if "://" in self.url else f"nats://{self.url}")
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise InvalidParameterError(
                f"url is {_without_password(self.url)!r}; allowed: nats://host[:port] or tls://host[:port]"
            )
        try:
            port = parts.port or 4222
        except ValueError as error:
            raise InvalidParameterError(f"port in url {_without_password(self.url)!r} is not 1 to 65535") from error
        if parts.username and parts.password is None and self.token is None and self.user is None:
            _set(self, "token", unquote(parts.username))
        elif parts.username and self.user is None:
            _set(self, "user", unquote(parts.username))
            _set(self, "password", unquote(parts.password or ""))
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        _set(self, "url", f"{parts.scheme}://{host}:{port}")
        check_prefix(self.prefix)
        for field in ("credentials", "tls_ca", "tls_certificate", "tls_key"):
            path = getattr(self, field)
            if path is not None and not Path(path).is_file():
                raise InvalidParameterError(f"{field} is {path!r}; no such file")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise InvalidParameterError("tls_certificate and tls_key must be given together")
        if self.inbox_prefix is None:
            safe = self.user is not None and _TOKEN.fullmatch(self.user)
            _set(self, "inbox_prefix", f"_INBOX_{self.user}" if safe else "_INBOX")

    @classmethod
    def from_environment(cls, **given: Any) -> ConnectOptions:
        """Read `NPUFLEET_URL`, `NPUFLEET_USER`, ... for every option that is not given (or is None)."""
        values = {name: value for name, value in given.items() if value is not None}
        for field in fields(cls):
            variable = os.environ.get(f"NPUFLEET_{field.name.upper()}")
            if variable and field.name not in values and field.name not in ("name", "prefix"):
                values[field.name] = variable
        return cls(**values)

    @property
    def full_url(self) -> str:
        """The address with the user and password, or the token, that a plain NATS client needs."""
        scheme, _, rest = self.url.partition("://")
        if self.user is not None:
            return f"{scheme}://{quoted(self.user)}:{quoted(self.password or '')}@{rest}"
        if self.token is not None:
            return f"{scheme}://{quoted(self.token)}@{rest}"
        return self.url

    @property
    def tls(self) -> bool:
        """Whether TLS is asked for, by scheme or by a file."""
        return self.url.startswith("tls://") or any((self.tls_ca, self.tls_certificate))

    def ssl_context(self) -> ssl.SSLContext:
        """A context that verifies the broker, with our certificate when there is one."""
        import ssl  # here, since the Rust worker goes without it

        context = ssl.create_default_context(cafile=self.tls_ca)
        if self.tls_certificate is not None:
            context.load_cert_chain(self.tls_certificate, self.tls_key)
        return context

    def as_dict(self) -> dict[str, str | None]:
        """Every option by name; holds secrets, so never log it."""
        return asdict(self)

    def named(self, name: str) -> ConnectOptions:
        """The same options under another connection name."""
        return replace(self, name=name)


def quoted(text: str) -> str:
    """Percent-encode one part of a URL's user information."""
    from urllib.parse import quote

    return quote(text, safe="")


def _set(options: ConnectOptions, field: str, value: str) -> None:
    object.__setattr__(options, field, value)


def _without_password(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//***@", url)
