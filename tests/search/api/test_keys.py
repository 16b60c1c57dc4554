"""The file of keys: what is kept, who may change it, and how soon that counts."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from search.api.keys import LOOK_SECONDS, KeyFile, KeyRing, KeysUnreadable
from search.api.rate_limits import RateLimits
from search.errors import InvalidRequest


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    """Not there yet, nor is its folder."""
    return KeyFile(tmp_path / "state" / "keys.json")


def test_a_key_is_kept_as_its_hash(file: KeyFile) -> None:
    """The key is nowhere in the file, which only its owner reads."""
    key, stored = file.create("alice", rate_per_minute=60, days=30)
    text = file.path.read_text()
    assert key.startswith("sextant_")
    assert len(key) >= 50
    assert key not in text
    assert key.removeprefix("sextant_") not in text
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert file.read() == (stored,)
    assert stored.sha256 not in repr(stored)
    assert KeyRing(file).find(key) == stored
    assert file.create("alice")[0] != key


def test_keys_of_one_name_are_rotated(file: KeyFile) -> None:
    """Both are good until the old one is revoked by its id; a name revokes all."""
    old, stored = file.create("alice")
    new, _ = file.create("alice")
    ring = KeyRing(file)
    assert ring.find(old)
    assert ring.find(new)
    assert file.revoke(stored.id) == (stored,)
    fresh = KeyRing(file)
    assert fresh.find(old) is None
    assert fresh.find(new)
    assert len(file.revoke("alice")) == 1
    assert file.read() == ()


def test_a_ring_notices_what_changes(file: KeyFile) -> None:
    """Within its time, and not before: the file is not looked at for every request."""
    now = [0.0]
    ring = KeyRing(file, clock=lambda: now[0])
    assert ring.live() == []
    key, stored = file.create("alice")
    assert ring.find(key) is None
    now[0] += LOOK_SECONDS
    assert ring.find(key) == stored
    file.revoke("alice")
    now[0] += LOOK_SECONDS
    assert ring.find(key) is None


def test_a_key_ends_on_its_day(file: KeyFile) -> None:
    """To the second."""
    key, stored = file.create("alice", days=1)
    assert stored.expires_at == stored.created_at + timedelta(days=1)
    day = [stored.expires_at - timedelta(seconds=1)]
    ring = KeyRing(file, now=lambda: day[0])
    assert ring.find(key)
    day[0] += timedelta(seconds=1)
    assert ring.find(key) is None
    assert ring.live() == []
    assert datetime.now(UTC) < stored.expires_at


def test_a_damaged_file_lets_nobody_in(file: KeyFile) -> None:
    """Each time it is asked, until it is whole again; and it is not written over."""
    key, _ = file.create("alice")
    whole = file.path.read_text()
    for damaged in ("", "{", "[]", json.dumps({"version": 2, "keys": []}), "\xff"):
        file.path.write_text(damaged, encoding="latin-1")
        ring = KeyRing(file)
        for _ in range(2):
            with pytest.raises(KeysUnreadable, match="is no file of keys; restore it"):
                ring.find(key)
        with pytest.raises(KeysUnreadable):
            file.create("bob")
        assert file.path.read_text(encoding="latin-1") == damaged
    file.path.write_text(whole)
    assert ring.find(key)


def test_wrong_wishes(file: KeyFile) -> None:
    """Names, rates, days, and keys that are not there."""
    for name in ("", "a b", "../x", "x" * 65, "-a", "a\n"):
        with pytest.raises(InvalidRequest, match="key name"):
            file.create(name)
    with pytest.raises(InvalidRequest, match="rate 0: expected 1 to"):
        file.create("a", rate_per_minute=0)
    with pytest.raises(InvalidRequest, match="0 days: expected 1 to 3650"):
        file.create("a", days=0)
    with pytest.raises(InvalidRequest, match="no key 'a'; keys are of: there are none"):
        file.revoke("a")
    assert not file.path.exists()


def test_a_folder_where_nothing_can_be_written(tmp_path: Path) -> None:
    """It is said in one line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(KeysUnreadable, match="cannot be written"):
        KeyFile(tmp_path / "file" / "keys.json").create("a")
    with pytest.raises(KeysUnreadable, match="cannot be read"):
        KeyFile(tmp_path).read()


def test_a_bucket_holds_a_minutes_worth() -> None:
    """Full at first; then as fast as it fills; never more than a minute's."""
    now = [0.0]
    limits = RateLimits(clock=lambda: now[0])
    assert [limits.take("a", 60) for _ in range(60)] == [0.0] * 60
    assert limits.take("a", 60) == pytest.approx(1.0)
    assert limits.take("b", 60) == 0.0
    now[0] += 0.5
    assert limits.take("a", 60) == pytest.approx(0.5)
    now[0] += 0.5
    assert limits.take("a", 60) == 0.0
    now[0] += 3600
    assert [limits.take("a", 60) > 0 for _ in range(61)] == [False] * 60 + [True]
    assert limits.take("a", None) == 0.0
