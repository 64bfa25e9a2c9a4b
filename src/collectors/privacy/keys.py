"""A tenant's keys, and the store that keeps, rotates and destroys them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from collectors.errors import LifecycleError, UnknownName
from collectors.privacy.cmac import Cmac


class Purpose(StrEnum):
    """What a key is for; no key serves two purposes."""

    PSEUDONYM = "pseudonym"
    AEAD = "aead"


class KeyStatus(StrEnum):
    """Whether a key still exists. A destroyed one leaves its id behind, so that what it sealed is recognised."""

    ENABLED = "enabled"
    DESTROYED = "destroyed"


@dataclass(frozen=True)
class Key:
    """A 256-bit key; ``material`` is empty once destroyed, and never shown."""

    id: int
    purpose: Purpose
    status: KeyStatus
    created_us: int
    material: bytes = field(repr=False)

    # The ciphers live with the key, so that nothing of it stays behind when a keyset is dropped.

    @cached_property
    def cmac(self) -> Cmac:
        """The key made ready for CMAC."""
        return Cmac(self.material)

    @cached_property
    def aesgcm(self) -> AESGCM:
        """The key made ready for AES-GCM."""
        return AESGCM(self.material)


@dataclass(frozen=True)
class Keyset:
    """All keys of one tenant, oldest first. The newest enabled key of a purpose is the one in use."""

    tenant: str
    keys: tuple[Key, ...]

    @cached_property
    def pseudonym(self) -> Key:
        """The key that makes pseudonyms."""
        return self._newest(Purpose.PSEUDONYM)

    @cached_property
    def primary(self) -> Key:
        """The key that encrypts; older ones still decrypt."""
        return self._newest(Purpose.AEAD)

    def decryption_key(self, key_id: int) -> Key:
        """Return the key with this id, which encrypted a value, to decrypt it."""
        for key in self.keys:
            if key.id == key_id and key.purpose is Purpose.AEAD:
                if key.status is KeyStatus.DESTROYED:
                    raise LifecycleError(
                        f"key {key_id} of tenant {self.tenant!r} was destroyed, and what it sealed too"
                    )
                return key
        raise UnknownName(f"tenant {self.tenant!r} has no key {key_id}; the value was sealed under another keyset")

    def pseudonyms(self, identifier: str) -> tuple[bytes, ...]:
        """Return every pseudonym that ``identifier`` is stored under, the current one first.

        There is one for each pseudonym key, so more than one only after a pseudonym key was rotated.
        """
        data = identifier.encode()
        return tuple(key.cmac.digest(data) for key in reversed(self._enabled(Purpose.PSEUDONYM)))

    def _enabled(self, purpose: Purpose) -> list[Key]:
        return [key for key in self.keys if key.purpose is purpose and key.status is KeyStatus.ENABLED]

    def _newest(self, purpose: Purpose) -> Key:
        enabled = self._enabled(purpose)
        if not enabled:
            raise LifecycleError(f"tenant {self.tenant!r} has no {purpose} key in use; rotate() makes one")
        return enabled[-1]


class KeyStore(Protocol):
    """Where keysets are kept: a folder, or a key management service.

    The calls raise UnknownName for a tenant without keys, LifecycleError for a shredded one, and
    StorageUnavailable while the store cannot be reached.
    """

    def keyset(self, tenant: str) -> Keyset:
        """Return the tenant's keys; cheap enough to call for every batch."""

    def create(self, tenant: str) -> Keyset:
        """Make a tenant's first keys; keys that exist already are returned as they are."""

    def rotate(self, tenant: str, purpose: Purpose = Purpose.AEAD) -> Keyset:
        """Put a new key in use and keep the older ones.

        Encrypted values stay readable. A new *pseudonym* key gives everyone a new pseudonym, so that what is
        stored from now on is no longer linked to what was stored before: rotate it only for that effect.
        """

    def shred(self, tenant: str) -> None:
        """Destroy all keys of the tenant, for good.

        What they encrypted cannot be read any more, wherever it is stored, and no pseudonym can be linked to a
        person by whoever has not kept a copy of the keys. To shred twice does no harm.
        """
